"""What limits come to on machines that differ in one thing."""

from __future__ import annotations

import pytest

from pyjail import HostError, Jail, Limits
from pyjail._host import machine
from pyjail._plan import compile
from pyjail._policy import cgroup

V2 = machine.Hierarchy(2, frozenset({"memory", "pids", "cpu"}), "/cg", True)
FILES = (frozenset({"memory.max", "memory.oom.group", "pids.max", "cpu.max", "cpu.stat"}),)  # no memory.swap.max


def limits_where(swap: bool) -> compile.RunLimits:
    host = machine.host()._replace(hierarchies=(V2,), above=(), swap=swap)
    return compile.run_limits(Jail(strict=True), Limits(), host, cgroup.choose(host, False), FILES)


def test_swap_without_accounting_is_refused():
    with pytest.raises(HostError, match="does not account for it") as e:
        limits_where(swap=True)
    assert "swapoff" in e.value.hint


def test_no_swap_needs_no_accounting():
    assert "memory.swap.max" not in {row.file for row in limits_where(swap=False).cgroup}
