"""`judge_source`: each test has its verdict, in order, at once, and by whose word."""

from __future__ import annotations

import json

import pytest

from pyjail import JudgeVerdict, Limits, SpecError, Test, judge_source
from tests.jail.languages.judging import judge, verdicts
from tests.scripts import script


def test_each_test_has_its_verdict():
    source = """
import sys
mode = input()
if mode == "right": print("a  b")
if mode == "wrong": print("ab")
if mode == "raise": raise ValueError
if mode == "spin":
    while True: pass
if mode == "flood":
    while True: print("x" * 1000)
"""
    tests = [
        ("right", "a b\n"), Test("wrong", "a b", name="w"), {"input": "raise", "expected": "a b"},
        Test("spin", "a b", limits=Limits(cpu_time=0.3, wall_time=30)), Test("flood", limits=Limits(output="4K")), ("other", None),
    ]  # fmt: skip
    judged = judge(source, tests)
    assert verdicts(judged) == ["ok", "wrong_answer", "runtime_error", "cpu_time", "output", "ok"]
    assert [row.name for row in judged.results] == ["1", "w", "3", "4", "5", "6"]
    assert (judged.compile, judged.passed, judged.verdict) == (None, False, JudgeVerdict.WRONG_ANSWER)
    assert judged.score == 2 / 6
    assert b"ValueError" in judged.results[2].result.stderr
    json.dumps(judged.to_dict())


@pytest.mark.parametrize("workers", [1, 3])
def test_after_a_failure_the_rest_is_skipped(workers):
    judged = judge("print(1)", [("", "1"), ("", "2"), ("", "1"), ("", "1")], stop_on_failure=True, workers=workers)
    assert verdicts(judged) == ["ok", "wrong_answer", "skipped", "skipped"]
    assert [row.result is None for row in judged.results] == [False, False, True, True]
    assert judged.score == 0.25


def test_results_of_tests_that_run_at_once_are_in_order():
    judged = judge(
        "import time; n = int(input()); time.sleep((5 - n) / 50); print(n)",
        [(str(n), str(n)) for n in range(6)],
        workers=3,
    )
    assert judged.passed


@pytest.mark.parametrize("workers", [1, 3])
def test_an_interrupt_ends_what_runs(workers):
    code = f"""
    import os, pyjail, signal, threading, time
    from tests.host_side import programs
    signal.signal(signal.SIGINT, signal.default_int_handler)
    def interrupt():
        while not programs(b"sleep"): time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    language = pyjail.languages.Language("shell", run=("sh", "{{source}}"), source="a", tools={{"sh": "-c"}})
    try: pyjail.judge_source(language, "exec sleep 1000", [("", None)] * 9, pyjail.Limits(wall_time=None), workers={workers})
    except KeyboardInterrupt: print("interrupted", programs(b"sleep"))
    """
    out = script(code)
    assert out.stdout == "interrupted []\n", out.stderr


def test_a_checker_of_the_callers_own():
    seen = []

    def close(test, output):
        seen.append(test.name)
        return abs(float(output) - float(test.expected)) < 0.1

    tests = [("1", "1.05"), ("1", "2"), ("x", "1")]
    assert verdicts(judge("print(float(input()))", tests, checker=close)) == ["ok", "wrong_answer", "runtime_error"]
    assert seen == ["1", "2"]
    assert verdicts(judge("print(' a')", [("", "a")], checker="exact")) == ["wrong_answer"]
    with pytest.raises(ZeroDivisionError):
        judge("print(1)", [("", "1")] * 4, checker=lambda test, output: 1 / 0, workers=2)


def test_what_is_no_source_is_refused():
    with pytest.raises(SpecError, match="source"):
        judge_source("python", 5, [("1", "1")])
