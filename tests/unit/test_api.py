"""The public names and their signatures, the command line and its exit codes are those of api.txt.

`python -m tests.unit.test_api` writes that file anew; what changes in it is for the CHANGELOG.
"""

from __future__ import annotations

import enum
import inspect
import re
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import pyjail

WHERE = Path(__file__).with_name("api.txt")
MODULES = ("pyjail", "pyjail.aio", "pyjail.cgroup", "pyjail.grading", "pyjail.languages")
MADE_FOR_YOU = ("Process", "AsyncProcess", "AsyncReader", "AsyncWriter")  # by start(): nobody calls them
COMMANDS = re.compile(r"^    ([a-z]+) ", re.MULTILINE)


def _unpacked(call: object, name: str) -> list[str]:
    """The keywords behind ``**name: Unpack[SomeTypedDict]``."""
    while hasattr(call, "__wrapped__"):
        call = call.__wrapped__
    text = inspect.get_annotations(call)[name]  # type: ignore[arg-type]
    found = re.fullmatch(r"Unpack\[(\w+)\]", str(text))
    if found is None:
        return [f"**{name}"]
    kinds = import_module("pyjail._parameters")
    defaults = inspect.signature(pyjail.run).parameters
    words = typing.get_type_hints(getattr(kinds, found[1]))
    live = dict.fromkeys(("stdin", "stdout", "stderr"), pyjail.PIPE) if found[1] in ("Live", "Streamed") else {}
    return [f"{word}={live.get(word, defaults[word].default)!r}" for word in defaults if word in words]


def signature(call: object) -> str:
    """Names, kinds and defaults of parameters, without their types."""
    try:
        found = inspect.signature(call)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "(...)"
    words: list[str] = []
    keywords: list[str] = []
    for p in found.parameters.values():
        text = p.name if p.default is p.empty else f"{p.name}={p.default!r}"
        if p.kind is p.VAR_KEYWORD:
            keywords += _unpacked(call, p.name)
        elif p.kind is p.VAR_POSITIONAL:
            words.append("*" + text)
        elif p.kind is p.KEYWORD_ONLY:
            keywords.append(text)
        else:
            words.append(text)
    return re.sub(
        r" at 0x[0-9a-f]+", "", "(" + ", ".join([*words, *(["*", *sorted(keywords)] if keywords else [])]) + ")"
    )


def _class(where: str, kind: type) -> Iterator[str]:
    ours = {getattr(import_module(m), name) for m in MODULES for name in import_module(m).__all__ if name[0].isupper()}
    bases = ", ".join(b.__name__ for b in kind.__mro__[1:-1] if b.__module__ == "builtins" or b in ours)
    call = "" if issubclass(kind, enum.Enum) or kind.__name__ in MADE_FOR_YOU else signature(kind)
    yield f"class {where}{call}" + (f": {bases}" if bases else "")
    if issubclass(kind, enum.Enum):
        yield from (f"  {member.name} = {member.value!r}" for member in kind)
        return
    for name in sorted(dir(kind)):
        if name.startswith("_") or (issubclass(kind, BaseException) and hasattr(OSError, name)):
            continue
        value = inspect.getattr_static(kind, name)
        if isinstance(value, staticmethod | classmethod | types.FunctionType):
            yield f"  {name}{signature(getattr(kind, name))}"
        else:
            yield f"  {name}"


def names() -> Iterator[str]:
    for where in MODULES:
        module = import_module(where)
        for name in sorted(module.__all__):
            value = getattr(module, name)
            path = f"{where}.{name}"
            if isinstance(value, type):
                yield from _class(path, value)
            elif isinstance(value, types.ModuleType):
                yield f"module {path}"
            elif callable(value):
                yield f"def {path}{signature(value)}"
            else:
                yield f"{path}: {type(value).__name__}"


def _pyjail(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyjail", *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={"COLUMNS": "100", "PATH": "/usr/bin:/bin", "NO_COLOR": "1"},
    )  # fmt: skip


def command_line() -> Iterator[str]:
    """What each command's --help says that it takes."""
    top = _pyjail("--help").stdout
    for command in ["", *COMMANDS.findall(top)]:
        text = _pyjail(*([command] if command else []), "--help").stdout
        found = sorted(set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text)))
        yield " ".join(["pyjail", *([command] if command else []), *found])


EXITS = (
    ("run", "--", "true"), ("run", "--", "sh", "-c", "exit 7"), ("run", "--", "sh", "-c", "kill -9 $$"),
    ("run", "--cpu-time", "1", "--", "sh", "-c", "while :; do :; done"), ("run", "--wall-time", "0.1", "--", "sleep", "9"),
    ("run", "--output", "10", "--", "sh", "-c", "echo aaaaaaaaaaaaaaaaaaaaaa"), ("run", "--", "/no/such"),
    ("run", "--", "/etc/passwd"), ("run", "--nonsense"), ("run", "--memory", "nonsense", "--", "true"), ("nonsense",), ("run",),
    ("--version",), ("--help",),
)  # fmt: skip


def exit_codes() -> Iterator[str]:
    for words in EXITS:
        yield f"{' '.join(('pyjail', *words))} -> {_pyjail(*words).returncode}"


def everything() -> str:
    return "\n".join([*names(), "", *command_line(), "", *exit_codes(), ""])


def test_names_signatures_command_line_and_exit_codes_are_what_they_were():
    assert everything().splitlines() == WHERE.read_text().splitlines()


def test_the_options_are_the_keywords_of_run():
    from pyjail import _command
    from pyjail._parameters import Options

    keywords = [p.name for p in inspect.signature(pyjail.run).parameters.values() if p.kind is p.KEYWORD_ONLY]
    options = set(typing.get_type_hints(Options))
    assert options | {"jail"} == set(keywords)
    assert set(_command.OPTIONS) | {"check"} == options


def test_an_option_that_there_is_not_is_a_type_error_at_every_door():
    with pyjail.Session() as session, pyjail.Pool(1, warm=0) as pool:
        for door in (pyjail.run, pyjail.start, session.run, session.start, pool.run):
            with pytest.raises(TypeError, match="unexpected keyword argument 'inptu'"):
                door(["true"], inptu=b"")
        for door in (pyjail.start, session.start):
            for name in ("input", "timeout", "capture_output", "check"):
                with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
                    door(["true"], **{name: None})


if __name__ == "__main__":
    WHERE.write_text(everything())
