"""`check_function`: each case has its verdict, and pays for no other."""

from __future__ import annotations

from pyjail.grading import Case, check_function
from tests.conftest import SLOW
from tests.jail.grading.checks import PATIENCE


def test_cases_have_each_their_verdict():
    source = """
import os
class Odd(ValueError): pass
def f(x, *, by=1):
    if x == "exit": os._exit(0)
    if x == "odd": raise Odd("odd")
    if x == "loop":
        while True: pass
    if x == "list": return iter([1, 2])
    if isinstance(x, list): x.append(by); return None
    return x * by
"""
    cases = [
        ((2,), 2),
        ((2,), 3),
        Case((2,), 6, {"by": 3}),
        Case(("exit",), 0),
        ((float("nan"),), float("nan")),
        Case(("odd",), raises="Odd"),
        Case(("odd",), raises="ValueError"),
        Case(("odd",), raises="KeyError"),
        Case((1,), raises="ValueError"),
        (("loop",), 1),
        (("list",), [1, 2]),
        Case(([1],), None, {"by": 5}, arguments=([1, 5],)),
        Case(([1],), None, {"by": 5}, arguments=([1],)),
        ((0.1,), 0.1),
    ]
    report = check_function(source, "f", cases, 1.5 * SLOW)
    assert [r.reason for r in report.results] == [
        "passed",
        "failed: another result than expected",
        "passed",
        "crashed: it exited with 0, before it had answered",
        "passed",
        "passed",
        "passed",
        "failed: it raised Odd: odd",
        "failed: it returned instead of raising ValueError",
        "timed out",
        "passed",
        "passed",
        "failed: it left its arguments otherwise than expected",
        "passed",
    ]
    assert not report.passed and report.results[1].value == 2 and report.results[10].value == [1, 2]
    assert check_function(source, "f", cases[:1]).passed
    assert not check_function(source, "f", []).passed


def test_no_case_pays_for_the_ones_before():
    leak = "kept = []\ndef f(x):\n    kept.append(x)\n    if len(kept) > 2: raise SystemExit\n    return x\n"
    assert check_function(leak, "f", [((n,), n) for n in range(7)], PATIENCE).passed
    count = "n = 0\ndef f():\n    global n\n    n += 1\n    return n\n"
    assert check_function(count, "f", [((), 1), ((), 2)], PATIENCE).passed
    assert check_function(count, "f", [((), 1), ((), 1)], PATIENCE, isolate=True).passed
    bad = check_function("def f(:", "f", [((), 1), ((), 2)], PATIENCE)
    assert len(bad.results) == 2 and all("SyntaxError" in r.reason for r in bad.results)
    assert bad.results[0].candidate is bad.results[1].candidate
