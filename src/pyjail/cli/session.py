"""``pyjail session``: the steps of a file, one after the other, in one /box."""

from __future__ import annotations

import argparse
import difflib
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyjail import Jail, Limits, Result, SpecError, _steps
from pyjail.cli.step_line import StepLine

EPILOG = (
    'STEPS is TOML ([[steps]] tables) or JSON (a list, or {"steps": [...]}) with command (a list, or text for sh -c), '
    "and, if wanted, timeout, stdin, env, cwd, read_only. Exit code: the last failing step's, as of run; else 0; 125 "
    "when pyjail failed."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Its own arguments, besides those of `run`."""
    parser.add_argument("--json", action="store_true", help="print JSON: an answer for each step")
    parser.add_argument("--stop", action="store_true", help="no step after one that failed")
    parser.add_argument("steps", metavar="STEPS", help='a .toml or .json file; "-": standard input')


def load(path: str) -> list[dict[str, Any]]:
    """The steps of a file, validated. SpecError for what is wrong in it, OSError when it cannot be read."""
    raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    found = _parse(raw, path)
    file = "standard input" if path == "-" else path
    if isinstance(found, Mapping):
        for key, value in found.items():
            if key not in ("steps", "step"):
                near = "; did you mean 'steps'?" if difflib.get_close_matches(key, ("steps",)) else ""
                raise SpecError(f"{file}: {key}", value, f"there is no such key; [[steps]] tables are needed{near}")
        found = [s for key in ("steps", "step") for s in _listed(file, found.get(key, []))]
    steps = enumerate(_listed(file, found), 1)
    return [_steps.check(step, f"{file}: step {n}: ") for n, step in steps]


def _listed(file: str, found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise SpecError(f"{file}: steps", found, "a list of steps is needed")
    return found


def _parse(raw: bytes, path: str) -> Any:
    import tomllib

    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise SpecError("STEPS", path, f"is not UTF-8: {e}") from None
    wrong = []
    if not path.endswith(".toml"):
        try:
            return json.loads(text)
        except ValueError as e:
            wrong.append(f"is not JSON: {e}")
    if not path.endswith(".json"):
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as e:
            wrong.append(f"is not TOML: {e}")
    raise SpecError("STEPS", path, "; ".join(wrong))


def main(options: argparse.Namespace, jail: Jail, limits: Limits, files: Mapping[str, Any]) -> int:
    """Run them; the exit code."""
    from pyjail._session import Session
    from pyjail.cli.ending import exit_code, remark, say

    steps = load(options.steps)
    code, answers = 0, []
    with Session(jail, limits=limits, disk=limits.disk, inodes=limits.inodes) as session:
        for path, source in files.items():
            session.write(path, source)
        for number, step in enumerate(steps, 1):
            if options.cwd is not None:
                step = {"cwd": options.cwd, **step}
            with StepLine(sys.stderr, f"[{number}/{len(steps)}] {shlex.join(map(str, step['command']))}"):
                answer = _steps.one(session, step, limits)
            result: Result | None = answer["result"]
            failed = answer["exit_code"] if result is None else exit_code(result)
            code = failed or code
            answers.append(answer)
            if not options.json:
                _print(answer, result)
                line = None if result is None else remark(result)
                if line is not None:
                    say(f"step {number}: {line}")
            if failed and options.stop:
                break
    if options.json:
        from pyjail._plain import head, plain

        print(json.dumps({**head("steps"), "steps": plain(answers)}))
    return code


def _print(answer: dict[str, Any], result: Result | None) -> None:
    """What the step wrote, as it is."""
    for stream, name in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
        if stream is not None:
            stream.flush()
            stream.buffer.write(answer[name].encode() if result is None else getattr(result, name))
            stream.flush()
