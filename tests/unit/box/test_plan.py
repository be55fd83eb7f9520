"""What the jail and the limits of a box come to."""

from __future__ import annotations

from pyjail import Box, Jail, Limits
from pyjail._box.jail import made
from pyjail._cgroups import whole
from pyjail._host import machine
from pyjail._plan import compile
from pyjail._policy import cgroup

V2 = machine.Hierarchy(2, frozenset({"memory", "pids", "cpu"}), "/cg", True)
FILES = (
    frozenset({"memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "pids.current", "cpu.max", "cpu.stat"}),
)
HOST = machine.host()._replace(hierarchies=(V2,), above=(), swap=True)
JAIL = made(Jail(), 1 << 20, 100, ("/aaa", "/tmp"))


def rows(limits: Limits, jail: Jail = JAIL) -> compile.RunLimits:
    return compile.run_limits(jail, limits, HOST, cgroup.choose(HOST, False), FILES)


def test_the_parts_come_after_what_they_are_parts_of():
    t = compile.template(JAIL, HOST, False)
    kinds = [
        (row.kind, row.target) for row in t.mounts if row.kind in ("fs", "part") and not row.why.startswith("hidden")
    ]
    assert kinds[:2] == [("fs", ""), ("fs", "box")]
    assert sorted(target for kind, target in kinds if kind == "part") == ["aaa", "box", "dev/shm", "tmp"]
    modes = {row.target: row.attr for row in t.mounts if row.kind == "part"}
    assert modes == {"aaa": 0o755, "box": 0o755, "dev/shm": 0o1777, "tmp": 0o1777}
    assert len({row.source for row in t.mounts if row.kind == "part"}) == 4


def test_namespaces_are_the_box_s_and_nothing_is_made_anew_for_each_run():
    for network in ("none", "loopback"):
        t = compile.template(made(Jail(network=network), None, None, ()), HOST, False)
        assert t.run_unshare == 0 and t.slots
        assert t.unshare_second & compile.NEWIPC and t.unshare_second & compile.NEWNET
    assert rows(Limits()).tmpfs == ()
    ordinary = compile.template(Jail(), HOST, False)
    assert not ordinary.slots and ordinary.run_unshare == compile.NEWIPC


def test_a_leaf_is_stopped_before_it_is_ended_and_may_be_used_again():
    last, stop = (row for row in rows(Limits(processes=7)).cgroup if row.file == "pids.max")
    assert (last.when, last.value, last.renew) == ("set", "7", "7") and (stop.when, stop.value) == ("stop", "0")
    last, stop = (row for row in rows(Limits(processes=None)).cgroup if row.file == "pids.max")
    assert (last.value, last.limit, stop.when) == ("max", "", "stop")
    (count,) = (row for row in rows(Limits()).cgroup if row.when == "count")
    assert (count.file, count.hierarchy) == ("pids.current", last.hierarchy)
    assert not [row for row in rows(Limits(), Jail()).cgroup if row.when in ("stop", "count")]


def test_the_whole_has_the_limits_that_hold_for_all_together():
    limits = whole.limits(rows(Limits(memory="64M", processes=7, cpus=0.5)).cgroup, 4)
    assert {row.file: row.value for row in limits} == {
        "memory.max": str(64 << 20), "memory.swap.max": "0", "pids.max": "11", "cpu.max": "50000 100000",
    }  # fmt: skip
    assert whole.limits(rows(Limits(memory=None, processes=None, cpus=None)).cgroup, 4) == ()


def test_its_programs_may_signal_each_other():
    assert compile.template(JAIL, HOST._replace(landlock_abi=6), False).landlock.scoped == 0
    assert compile.template(Jail(), HOST._replace(landlock_abi=6), False).landlock.scoped != 0


def test_each_program_s_limits_have_the_box_s_disk():
    box = Box(limits=Limits(disk="1M"), disk="5M", inodes=50)
    assert (box.limits.disk, box.limits.inodes) == (5 << 20, 50)
