"""Where the programs of a box cannot be told apart there is none, whatever the jail says."""

from __future__ import annotations

import pytest

from pyjail import Box, HostError, Jail
from tests import place
from tests.inside import another_host


@pytest.mark.parametrize("strict", [True, False])
def test_without_the_pids_controller_a_box_is_refused_with_the_fix(strict):
    with another_host(hierarchies=()), pytest.raises(HostError) as e:
        Box(Jail(strict=strict)).run(["true"])
    assert e.value.hint and ("cgroup" in e.value.cause or "controller" in e.value.cause)


@pytest.mark.parametrize("strict", [True, False])
def test_an_ordinary_user_without_a_cgroup_of_his_own_is_told_how_to_get_one(strict):
    if place.CGROUPS:
        pytest.skip(place.ELSEWHERE)
    with pytest.raises(HostError) as e:
        Box(Jail(strict=strict)).run(["true"])
    assert e.value.control in ("processes", "memory") and "Delegate" in e.value.hint + e.value.cause
