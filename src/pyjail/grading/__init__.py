"""Graders' trust: the checker in a jail of its own, and a result that the submission cannot forge (docs/grading.md).

>>> import pyjail
>>> pyjail.grading.check_function("def f(x): return x + 1", "f", [((1,), 2)]).passed
True
"""

from __future__ import annotations

from pyjail import records as records  # it says so when the package is not ours
from pyjail.grading._correctness import Correctness, check_correctness
from pyjail.grading._files import Test, TestReport, run_tests
from pyjail.grading._function import Case, CaseResult, FunctionReport, check_function

__all__ = [
    "Case",
    "CaseResult",
    "Correctness",
    "FunctionReport",
    "Test",
    "TestReport",
    "check_correctness",
    "check_function",
    "run_tests",
]


def __dir__() -> list[str]:
    return sorted(__all__)
