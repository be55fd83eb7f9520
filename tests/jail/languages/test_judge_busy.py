"""`judge_source` on a machine that is too busy: nothing that it held up is the program's fault."""

from __future__ import annotations

import pytest

import pyjail
from pyjail import Limits, Test, Verdict
from pyjail.languages import _machine
from tests.conftest import SLOW
from tests.jail.languages.judging import judge, shell, verdicts

LIMITS = Limits(cpu_time=20 * SLOW, wall_time=1 * SLOW)
SLEEPS = f"import time; time.sleep({1.5 * SLOW}); print(1)"
FOR_EVER = Limits(cpu_time=20 * SLOW, wall_time=0.3 * SLOW)


@pytest.fixture
def free(monkeypatch):
    """For how many s a CPU was to be had while anything ran."""

    def of(seconds):
        monkeypatch.setattr(_machine.Watch, "free", lambda self: seconds)

    return of


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_the_machine_held_up_is_done_again_with_more_patience(free, workers):
    free(0.0)
    judged = judge(SLEEPS, [("", "1"), Test("", "1", limits=LIMITS)], LIMITS, workers=workers)
    assert verdicts(judged) == ["ok", "ok"]
    assert {row.result.limits.wall_time for row in judged.results} == {4.0 * SLOW}


def test_who_waits_though_there_was_a_cpu_has_met_the_wall_limit(free):
    free(0.8 * SLOW)
    judged = judge(SLEEPS, [("", "1")], LIMITS)
    assert verdicts(judged) == ["wall_time"]
    assert judged.results[0].result.limits.wall_time == 1 * SLOW


def test_what_it_held_up_every_time_says_nothing_of_the_program(free):
    free(0.0)
    judged = judge("import time; time.sleep(600)", [("", "1")], FOR_EVER)
    assert verdicts(judged) == ["jail_error"] and judged.points == 0
    assert judged.results[0].message.startswith("the machine was busy: the program had a CPU to run on for 0.0 s")
    assert judged.results[0].result.verdict is Verdict.WALL_TIME


@pytest.mark.parametrize(
    ("sleep", "wall", "had", "verdict"),
    [(1.5, 1, 0.0, "ok"), (600, 0.3, 0.0, "jail_error"), (1.5, 1, 0.8, "compile_error")],
)
def test_a_compiler_that_it_held_up_says_nothing_either(free, sleep, wall, had, verdict):
    free(had * SLOW)
    language, source = shell(
        f"sleep {sleep * SLOW}; echo echo 1 > main", cpu_time=20 * SLOW, wall_time=wall * SLOW
    )  # fmt: skip
    judged = pyjail.judge_source(language, source, [("", "1")])
    assert verdicts(judged) == [verdict]
    assert ("the machine was busy" in judged.results[0].message) is (verdict == "jail_error")
