"""``pyjail run``: one program, its streams passed on, its files brought out."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

import pyjail
from pyjail import Jail, Limits, Result
from pyjail.cli import bring_out, languages, through
from pyjail.cli.complaint import UsageError, words
from pyjail.cli.ending import EXIT_FAILED, exit_code, printable, remark, say
from pyjail.cli.options import files

if TYPE_CHECKING:
    from pyjail import Timings


def main(options: argparse.Namespace, program: list[str], jail: Jail, limits: Limits) -> int:
    """Run it; the exit code."""
    _check(options)
    with contextlib.ExitStack() as stack:
        given = {
            "jail": jail, "stdin": stack.enter_context(through.standard_input()), "files": files(options) or None,
            "cwd": options.cwd, "collect": tuple(options.collect),
        }  # fmt: skip
        if options.learn or options.learn_root:
            return _learn(options, {**given, "args": program, "limits": limits})
        if options.language:
            prepared = languages.prepare(options, program[0], jail)
            if not prepared.ok:
                return languages.not_compiled(prepared, options.json, options.sanitize)
            command = stack.enter_context(prepared.command(limits, program[1:], given["files"]))
            given = {**given, **command, "jail": prepared.jail}
        else:
            given |= {"args": program, "limits": limits}
        out = stack.enter_context(_out(options.out)) if options.out else -1
        result, profile = _run(options, given)
        lost = bring_out.write(out, result.files) if out >= 0 else {}
    _tell(options, result, profile, lost)
    return EXIT_FAILED if lost else exit_code(result)


_NOT_LEARNED = ("timings", "collect", "out")
_EXCLUDE = {
    "language": ("cwd", "learn", "learn_root", "timings"), "learn": _NOT_LEARNED, "learn_root": _NOT_LEARNED,
    "sanitize": ("json", "timings", "learn", "learn_root"),
}  # fmt: skip


def _check(options: argparse.Namespace) -> None:
    """Nothing is accepted that would do nothing."""
    wrong = [
        f"{_typed(other)} cannot be used with {_typed(one)}"
        for one, others in _EXCLUDE.items()
        for other in others
        if getattr(options, one) and getattr(options, other)
    ]
    if options.collect and not (options.out or options.json):
        wrong.append("--collect needs --out DIR to write to, or --json to be in")
    if options.out and not options.collect:
        wrong.append("--out needs --collect PATTERN: which files")
    if wrong:
        raise UsageError("pyjail run", wrong[0])


def _typed(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@contextlib.contextmanager
def _out(path: str) -> Iterator[int]:
    fd = bring_out.directory(path)
    try:
        yield fd
    finally:
        os.close(fd)


def _run(options: argparse.Namespace, given: dict[str, Any]) -> tuple[Result, Timings | None]:
    if options.timings:
        from pyjail.cli import timings

        profile = timings.profile(given)
        return profile.result, profile
    if options.json:
        return pyjail.run(**given), None
    return through.run(given, sys.stdout, sys.stderr, sanitize=options.sanitize), None


def _tell(options: argparse.Namespace, result: Result, profile: Timings | None, lost: Mapping[str, str]) -> None:
    """All that is said about a run, once it is over."""
    if options.json:
        print(json.dumps(result.to_dict()))
    elif profile is not None:
        _show(result, sys.stdout, sys.stderr)
    missing = {} if options.json else {name: words(why) for name, why in result.uncollected.items()}
    for kind, rows in (("not collected", missing), ("not brought out", lost)):
        for name, why in rows.items():
            say(f"{kind}: {printable(name)}: {why}")
    line = None if options.json else remark(result)
    if line is not None:
        say(line)
    if profile is not None:
        from pyjail.cli import timings

        timings.show(profile)


def _show(result: Result, stdout: TextIO | None, stderr: TextIO | None) -> None:
    for stream, data in ((stdout, result.stdout), (stderr, result.stderr)):
        if stream is not None and data:
            stream.flush()
            stream.buffer.write(data)
            stream.flush()


def _learn(options: argparse.Namespace, given: dict[str, Any]) -> int:
    """What was learned goes to stdout, what the program writes to stderr."""
    from pyjail.cli import learned

    found = pyjail.learn(**{name: value for name, value in given.items() if name != "collect"})
    if not options.json:
        _show(found.result, sys.stderr, sys.stderr)
    if options.learn_root:
        found.jail(options.learn_root)
    print(json.dumps(found.to_dict()) if options.json else learned.text(found, options.learn_root), end="")
    return exit_code(found.result)
