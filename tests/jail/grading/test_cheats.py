"""No completion passes but by computing the right answers."""

from __future__ import annotations

import pytest

from pyjail import Limits
from pyjail.grading import check_correctness
from tests import place
from tests.conftest import SLOW
from tests.jail.grading.cheats import CHEATS, source
from tests.jail.grading.tasks import TASKS

# Where no cgroup counts the memory, a cheat that takes all of it is to be ended all the same.
LIMITS = Limits(processes=32, output="1M", disk="16M", address_space=None if place.CGROUPS else "1G")
PROMPT_ENDS = "    pass\n\n"
NAMES = list(TASKS)


def some_tasks(cheat: str, soak: bool) -> list[str]:
    """Other ones for each cheat, so that every task meets several; all of them with --soak."""
    first = 5 * list(CHEATS).index(cheat)
    return NAMES if soak else [NAMES[(first + 17 * k) % len(NAMES)] for k in range(3)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHEATS)
def test_a_cheating_completion_does_not_pass(name, request):
    cheat = CHEATS[name]
    tasks = some_tasks(name, request.config.getoption("--soak"))
    for task in tasks[:1] if cheat.needs_time else tasks:
        problem = TASKS[task]
        completion = PROMPT_ENDS + source(cheat, problem["entry_point"])
        r = check_correctness(problem, completion, (0.5 if cheat.needs_time else 5) * SLOW, limits=LIMITS)
        assert not r.passed
        assert r.status in cheat.statuses, (task, r.reason, r.candidate.stderr)
        assert r.to_dict()["passed"] is False


def test_every_task_meets_a_cheat():
    assert {task for cheat in CHEATS for task in some_tasks(cheat, False)} == set(TASKS)
    assert len(CHEATS) >= 20
