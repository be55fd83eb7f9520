"""What was not started is tried once more when that can help, and never for ever."""

from __future__ import annotations

import pytest

from pyjail import (
    ExecError,
    HostError,
    KeeperError,
    SetupError,
    SpecError,
)
from pyjail._plan import prepare
from pyjail._run.attempts import Attempts, IdleDeath


@pytest.fixture
def looks(monkeypatch):
    """How often it was looked at the machine again."""
    found = []
    monkeypatch.setattr(prepare, "look_again", lambda: found.append(1))
    return found


def setup_error(step: str) -> SetupError:
    return SetupError(step, None, "gone", 2)


OUTDATED = [setup_error("cgroup"), setup_error("cgroup_enter"), HostError("cgroup", "gone", "make it")]
FINAL = [
    setup_error("mount"),
    HostError("memory", "no controller", "delegate it"),
    ExecError("exec", None, "not found", 2),
    SpecError("args", 1, "no"),
]


def test_a_warm_keeper_that_died_is_followed_by_another_one_however_often(looks):
    attempts = Attempts()
    assert all(attempts.again(IdleDeath(new=False)) for _ in range(100))
    assert not looks


def test_a_new_keeper_that_died_is_an_error(looks):
    with pytest.raises(KeeperError, match="killed from outside") as told:
        Attempts().again(IdleDeath(new=True))
    assert told.value.__suppress_context__
    assert not looks


@pytest.mark.parametrize("error", OUTDATED, ids=repr)
def test_a_cgroup_that_somebody_took_away_is_looked_for_once(looks, error):
    attempts = Attempts()
    assert attempts.again(error)
    assert looks == [1]
    assert not attempts.again(error)
    assert attempts.again(IdleDeath(new=False))
    assert looks == [1]
    assert Attempts().again(error)  # another command looks for itself


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_other_errors_are_the_callers(looks, error):
    assert not Attempts().again(error)
    assert not looks
