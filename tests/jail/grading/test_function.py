"""`check_function`: each case has its verdict, and pays for no other."""

from __future__ import annotations

import pytest

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
        (("list",), [1, 2]),  # an iterator
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
        "failed: another result than expected: an iterator is no list, unless you say so (iterators=True)",
        "passed",
        "failed: it left its arguments otherwise than expected",
        "passed",
    ]
    assert not report.passed and report.results[1].value == 2 and report.results[10].value == [1, 2]
    assert check_function(source, "f", cases[:1]).passed
    assert not check_function(source, "f", []).passed


def test_iterators_are_lists_where_that_is_asked_for():
    source = (
        "def f(x): return {'map': map(abs, [-1]), 'in': [iter('a')], 'keys': {3: 4}.keys(), 'cut': iter(int, 1)}[x]\n"
    )
    cases = [Case(("map",), [1]), Case(("in",), [["a"]]), Case(("keys",), [3]), Case(("cut",), [0])]
    asked = check_function(source, "f", cases, PATIENCE, iterators=True)
    assert [r.passed for r in asked.results] == [True, True, True, False]
    assert "cut short after 100000 items" in asked.results[3].reason
    assert not any(r.passed for r in check_function(source, "f", cases, PATIENCE).results)


@pytest.mark.parametrize("iterators", [False, True])
def test_an_exception_is_the_case_s_own(iterators):
    """What an earlier call raised says nothing of an iterator that never ends."""
    source = """
n = 0
def f(x):
    global n; n += 1
    if n == 1: raise ValueError("x")
    return iter(int, 1)
"""
    cases = [Case((-1,), raises="ValueError"), Case((-2,), raises="ValueError"), Case((-3,), raises="Exception")]
    report = check_function(source, "f", cases, PATIENCE, iterators=iterators)
    assert [r.passed for r in report.results] == [True, False, False]
    endless = check_function("def f(x): return iter(int, 1)", "f", [((0,), [0])], PATIENCE, iterators=iterators)
    assert "IndexError" not in endless.results[0].reason and endless.results[0].reason.startswith("failed: ")


def test_what_a_generator_raises_is_raised_where_it_is_read():
    source = "def f(x):\n    yield 1\n    raise ValueError(x)\n"
    case = [Case((1,), raises="ValueError")]
    assert check_function(source, "f", case, PATIENCE, iterators=True).passed
    assert (
        check_function(source, "f", case, PATIENCE).results[0].reason
        == "failed: it returned instead of raising ValueError"
    )


def test_numbers_of_numpy_are_results():
    pytest.importorskip("numpy")
    source = "import numpy\ndef f(x): return [numpy.int64(x), numpy.float32(0.5), numpy.bool_(True)]\n"
    report = check_function(source, "f", [((3,), [3, 0.5, True])], 6 * PATIENCE, packages=True)
    assert report.passed, report.results[0].reason


def test_no_case_pays_for_the_ones_before():
    leak = "kept = []\ndef f(x):\n    kept.append(x)\n    if len(kept) > 2: raise SystemExit\n    return x\n"
    assert check_function(leak, "f", [((n,), n) for n in range(7)], PATIENCE).passed
    count = "n = 0\ndef f():\n    global n\n    n += 1\n    return n\n"
    assert check_function(count, "f", [((), 1), ((), 2)], PATIENCE).passed
    assert check_function(count, "f", [((), 1), ((), 1)], PATIENCE, isolate=True).passed
    bad = check_function("def f(:", "f", [((), 1), ((), 2)], PATIENCE)
    assert len(bad.results) == 2 and all("SyntaxError" in r.reason for r in bad.results)
    assert bad.results[0].candidate is bad.results[1].candidate


@pytest.mark.parametrize(
    "value", ["10 ** 20000", "[-10 ** 20000]", "{1: 10 ** 20000}", "{10 ** 20000}", "'\\x1b' * 9", "b'x' * 60000"]
)
def test_a_report_can_be_shown_whatever_was_returned(value):
    report = check_function(f"def f(x): return {value}", "f", [((1,), 1)], PATIENCE)
    assert not report.passed and all("\x1b" not in shown for shown in (repr(report), repr(report.results[0])))
    assert report.results[0]._repr_html_()
