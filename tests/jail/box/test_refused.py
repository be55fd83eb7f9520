"""Where the programs of a box cannot be told apart there is none, whatever the jail says."""

from __future__ import annotations

import pytest

from pyjail import Box, HostError, Jail
from tests.inside import another_host


@pytest.mark.parametrize("strict", [True, False])
def test_without_the_pids_controller_a_box_is_refused_with_the_fix(strict):
    with another_host(hierarchies=()), pytest.raises(HostError) as e:
        Box(Jail(strict=strict)).run(["true"])
    assert e.value.hint and ("cgroup" in e.value.cause or "controller" in e.value.cause)
