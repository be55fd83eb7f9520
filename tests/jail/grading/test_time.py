"""Time and other limits of a check: what they come to, and that a busy machine fails no right answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pyjail import Limits, Verdict
from pyjail.grading import Case, check_correctness, check_function
from tests.conftest import SLOW
from tests.jail.grading.checks import PATIENCE, check
from tests.jail.grading.tasks import TASKS


@pytest.mark.needs_cgroups
def test_limits_are_reasons():
    assert check("def f(x): return len([0] * (1 << 30))").reason == "crashed: out of memory, before it had answered"
    r = check("def f(x):\n    while True: pass", timeout=60, limits=Limits(cpu_time=0.3, wall_time=60))
    assert (r.reason, r.candidate.verdict, r.decided) == ("timed out", Verdict.CPU_TIME, True)


def test_a_candidate_that_waits_for_ever_is_timed_out_unless_the_machine_is_busy(nothing_left):
    r = check("import time\ndef f(x): time.sleep(600)", timeout=0.5 * SLOW)
    assert r.candidate.verdict is Verdict.WALL_TIME and r.checker.verdict is Verdict.OK
    assert r.reason == "timed out" or r.reason.startswith("undecided: the machine was busy: the candidate had a CPU")
    assert r.decided is (r.reason == "timed out") and not r.passed


def test_tests_that_take_too_long():
    r = check("def f(x): return x", "f(1)\nwhile True: pass", checker_limits=Limits(cpu_time=1 * SLOW, wall_time=None))
    assert not r.passed and r.reason == "timed out: the tests themselves took too long"
    r = check("def f(x): return x", "f(1)\nwhile True: pass", timeout=0.3 * SLOW)
    assert not r.passed and r.status in ("timed out", "undecided")


@pytest.mark.needs_cgroups
def test_right_completions_pass_however_many_are_checked_at_once():
    """64 at a time on a few CPUs: each gets its turn late, and its time limit is not what passes meanwhile."""

    def one(problem: dict[str, str]):
        return check_correctness(
            problem, problem["solution"], 1.5 * SLOW, limits=Limits(memory="128M", cpu_time=1.5 * SLOW)
        )

    with ThreadPoolExecutor(64) as pool:
        found = list(pool.map(one, TASKS.values()))
    assert {r.reason for r in found if r.decided} == {"passed"}
    assert sum(r.passed for r in found) >= len(found) - 3  # this machine may be busier than that


def test_cases_of_a_function_that_waits_for_its_turn_pass():
    def one(n: int):
        return check_function(
            "import time\ndef f(x): time.sleep(0.02); return x", "f", [Case((k,), k) for k in range(n)], 0.5 * SLOW
        )

    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(one, [4] * 24))
    assert {r.reason for report in found for r in report.results if r.decided} == {"passed"}


def test_a_wall_limit_of_the_caller_s_own_holds():
    r = check("import time\ndef f(x): time.sleep(600)", timeout=PATIENCE, limits=Limits(wall_time=0.5 * SLOW))
    assert r.candidate.verdict is Verdict.WALL_TIME
    assert r.candidate.limits.wall_time in (0.5 * SLOW, 2 * SLOW)  # the latter where the machine held it up
