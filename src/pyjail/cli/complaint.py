"""Errors in the words of the command line: options instead of parameters; as text, or as JSON with ``--json``."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import partial

import pyjail
from pyjail import Limits, SpecError
from pyjail.cli.ending import EXIT_CANNOT_EXECUTE, EXIT_FAILED, EXIT_NOT_FOUND, say

_OPTIONS = {
    "files": "--file", "collect": "--collect", "language": "--language", "only": "--only", "root": "--learn-root",
    "program": "PROGRAM", "config": "--config",
    "languages": "--language", "packages": "--package", "base": "--from", "run_only": "--run-only", "keep": "--keep",
    "cmd": "--image-cmd", "entrypoint": "--image-entrypoint", "working_dir": "--image-working-dir",
}  # fmt: skip
_WORDS = (
    (r"\bNone (means|is)\b", r'"none" \1'),
    (r"(?<![\w-])files=(?=[\s;,.]|$)", "--file"),
    (r"(?<![\w-])mounts=(?=[\s;,.]|$)", "--bind"),
    (r"(?<![\w-])(python|rootfs|image|env|cwd)=(?=[\s;,.]|$)", r"--\1"),
    (r"\bor None for\b", 'or "none" for'),
    (r"\blearned=True\b", "--learned"),
    (r"Jail\(strict=False\)", "--no-strict"),
    (r"Jail\((\w+)=False\)", r"\1 = false in [jail] of a --config file"),
    (r"Jail\((seccomp|network)='(\w+)'\)", r"--\1 \2"),
    (r"Jail\(python='([^']*)'\)", r"--python \1"),
    (r"Jail\(deterministic=True\)", "--deterministic"),
    (r"bounds=images\.Bounds\((\w+)=\.\.\.\)", r"--bound \1=..."),
    (r"Limits\((\w+)=None\)", r"--\1 none"),
    (r"Limits\((\w+)=[^)]*\)", r"--\1"),
    (r"Limits\.collect\b", "--collect-size"),
    (r"Limits\.(\w+)", r"--\1"),
    (r"a tuple of Mount\.bind\(\.\.\.\) and Mount\.tmpfs\(\.\.\.\)", "--bind"),
)


class UsageError(Exception):
    """The command line cannot be understood. ``command``: whose --help to look at."""

    def __init__(self, command: str, message: str) -> None:
        super().__init__(message)
        self.command = command


@contextlib.contextmanager
def of(option: str, value: object) -> Iterator[None]:
    """What is wrong with a value inside is said of this option."""
    try:
        yield
    except SpecError as e:
        raise SpecError(option, value, words(e.reason)) from None
    except OSError as e:
        raise SpecError(option, value, e.strerror or str(e)) from None


@contextlib.contextmanager
def of_file(option: str, path: str) -> Iterator[None]:
    """That a file cannot be read is said of the option that named it."""
    try:
        yield
    except OSError as e:
        raise SpecError(option, path, e.strerror or str(e)) from None


def option(field: str) -> str:
    """What the command line calls it."""
    return _OPTIONS.get(field, f"--{field.replace('_', '-')}")


def words(text: str) -> str:
    """A text that names parameters of Python, with the options that mean the same."""
    for pattern, option in _WORDS:
        text = re.sub(pattern, partial(_as_option, option), text)
    return text


def _as_option(option: str, found: re.Match[str]) -> str:
    return _dashed(found.expand(option))


def _dashed(text: str) -> str:
    option, space, value = text.partition(" ")
    return option.replace("_", "-") + space + value if text.startswith("--") else text


def text(error: Exception) -> str:
    """One line about an error, for people."""
    if isinstance(error, SpecError):
        names = {f.name for f in fields(Limits)} | {
            "network",
            "seccomp",
            "hostname",
            "rootfs",
            "image",
            "python",
            "cwd",
            "env",
        }
        dashed = f"--{error.field.replace('_', '-')}" if error.field in names else error.field
        return str(SpecError(_OPTIONS.get(error.field, dashed), _typed(error.value), words(error.reason)))
    if isinstance(error, OSError) and not isinstance(error, pyjail.JailError):
        unwritten = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        where = error.filename if error.filename is not None else "cannot write what is printed" if unwritten else ""
        return f"{where}{': ' if where else ''}{error.strerror or error}"
    return words(str(error))


def _typed(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def exit_code(error: Exception) -> int:
    """127 when the program was not found, 126 when it could not be executed, else 125."""
    if isinstance(error, pyjail.ProgramNotFoundError):
        return EXIT_NOT_FOUND
    return EXIT_CANNOT_EXECUTE if isinstance(error, pyjail.ExecError) else EXIT_FAILED


def tell(error: Exception, as_json: bool, code: int | None = None) -> int:
    """Say it on stderr, with ``as_json`` as a "failure" of docs/data.md on stdout besides; the exit code: ``code``, or
    what is usual."""
    code, said = exit_code(error) if code is None else code, text(error)
    if isinstance(error, UsageError):
        say(f"{error.command}: {said}\nTry '{error.command} --help'.", "")
    else:
        say(said)
    if as_json:
        from pyjail import records

        found = records.error(error)
        about = {name: words(value) if isinstance(value, str) else value for name, value in found.items()}
        about |= {"message": records.pack(said), "exit_code": code}
        print(json.dumps({**records.head("failure"), "error": about}))
    return code
