"""Who says whether an output is right: a comparison, a function of the caller's, or a program in a jail of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from pyjail._base.errors import SpecError
from pyjail._result.result import Result
from pyjail._result.verdict import Verdict
from pyjail._spec.jail import Limits
from pyjail.languages._judgement import JudgeVerdict
from pyjail.languages._program import Program
from pyjail.languages._test import Checker, Test, make_checker

LIMITS = Limits(cpu_time=30, memory="1G", output="1M", disk="256M", file_size="256M")
MOST_SAID = 1000  # bytes of what a checker says
_RIGHT, _FAIL, _POINTS, _PERCENT, _MOST_PERCENT = 0, 3, 7, 16, 216
_WRONG = {1: "", 2: "presentation error", 4: "dirt", 8: "unexpected end of file"}
_NUMBER = re.compile(rb"points\s+([0-9]+(?:\.[0-9]+)?)")


class Opinion(NamedTuple):
    """Of one output: the part of its points that it earns, from 0.0 to 1.0, and what was said."""

    verdict: JudgeVerdict
    part: float
    message: str = ""
    result: Result | None = None


Judge = Callable[[Test, bytes], Opinion]


def judge_of(given: Checker | str | Program | None, limits: Limits | None) -> Judge:
    """What is asked about each output of a run that was OK."""
    if isinstance(given, Program):
        if not given.ok:
            said = (
                given.fault if given.compile is None else given.compile.stderr[-MOST_SAID:].decode("utf-8", "replace")
            )
            raise SpecError("checker", given.source, f"did not compile: {said}")
        return lambda test, output: ask(given, limits or LIMITS, test, output)
    right = make_checker(given)

    def compare(test: Test, output: bytes) -> Opinion:
        return RIGHT if right(test, output) else WRONG

    return compare


RIGHT, WRONG = Opinion(JudgeVerdict.OK, 1.0), Opinion(JudgeVerdict.WRONG_ANSWER, 0.0)


def ask(program: Program, limits: Limits, test: Test, output: bytes) -> Opinion:
    """Run it with the names of three files, as testlib's checkers want them; its exit code is the verdict."""
    answer: Any = b"" if test.expected is None else test.expected
    files = {"input": test.input, "output": output, "answer": answer}
    result = program.run(limits, ["input", "output", "answer"], files=files)
    said = (result.stderr or result.stdout)[:MOST_SAID].decode("utf-8", "replace")
    said = "".join(c if c.isprintable() else " " for c in said).strip()
    code = result.exit_code
    if result.verdict not in (Verdict.OK, Verdict.RUNTIME_ERROR) or code is None:
        return Opinion(JudgeVerdict.CHECKER_ERROR, 0.0, f"the checker met {result.verdict.value}: {said}", result)
    if code == _RIGHT:
        return Opinion(JudgeVerdict.OK, 1.0, said, result)
    if code in _WRONG:
        why = ": ".join(filter(None, (_WRONG[code], said)))
        return Opinion(JudgeVerdict.WRONG_ANSWER, 0.0, why, result)
    if code == _POINTS and (found := _NUMBER.search(result.stderr + result.stdout)) is not None:
        return partly(float(found[1]) / test.points if test.points else 0.0, said, result)
    if _PERCENT <= code <= _MOST_PERCENT:
        return partly((code - _PERCENT) / 100, said, result)
    why = "it found no fault of the program's" if code == _FAIL else f"exit code {code}"
    return Opinion(JudgeVerdict.CHECKER_ERROR, 0.0, f"the checker failed, {why}: {said}", result)


def partly(part: float, said: str, result: Result) -> Opinion:
    """Some of the points, all of them, or none."""
    if part >= 1:
        return Opinion(JudgeVerdict.OK, 1.0, said, result)
    return Opinion(JudgeVerdict.PARTIAL if part > 0 else JudgeVerdict.WRONG_ANSWER, part, said, result)
