"""A check of a completion, and how long it may take."""

from __future__ import annotations

from pyjail.grading import check_correctness
from tests.conftest import SLOW

PATIENCE = 10 * SLOW


def check(completion: str, test: str = "assert f(1) == 1\n", timeout: float = PATIENCE, **kw):
    problem = {"task_id": "t", "prompt": "", "entry_point": "f", "test": test}
    return check_correctness(problem, completion, timeout, **kw)
