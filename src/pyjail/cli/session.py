"""``pyjail session``: the steps of a file, one after the other, in one /box."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from typing import Any

import pyjail
from pyjail import Jail, Limits, Result
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


def main(options: argparse.Namespace, jail: Jail, limits: Limits, files: Mapping[str, Any]) -> int:
    """Run them; the exit code."""
    from pyjail.cli.ending import exit_code, remark, say

    steps = pyjail.load_steps(options.steps)
    code, answers = 0, []
    with pyjail.Session(jail, limits=limits, disk=limits.disk, inodes=limits.inodes) as session:
        for path, source in files.items():
            session.write(path, source)
        for number, step in enumerate(steps, 1):
            if options.cwd is not None:
                step = {"cwd": options.cwd, **step}
            with StepLine(sys.stderr, f"[{number}/{len(steps)}] {shlex.join(map(str, step['command']))}"):
                (answer,) = session.steps([step], limits=limits)
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
        from pyjail.records import head, plain

        print(json.dumps({**head("steps"), "steps": plain(answers)}))
    return code


def _print(answer: dict[str, Any], result: Result | None) -> None:
    """What the step wrote, as it is."""
    for stream, name in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
        if stream is not None:
            stream.flush()
            stream.buffer.write(answer[name].encode() if result is None else getattr(result, name))
            stream.flush()
