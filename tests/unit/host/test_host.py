"""Reading a machine: cgroup hierarchies in every arrangement, and plans for hosts that lack something."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyjail import (
    HostError,
    Jail,
    Limits,
    Mount,
    SpecError,
)
from pyjail._host import machine, seldom
from pyjail._host.interpreter import Part
from pyjail._host.machine import Entry, Hierarchy
from pyjail._plan import compile, prepare
from pyjail._policy import asked_for, cgroup, ids, landlock, mounts
from pyjail._policy.mounts import Seen

HOST = machine.host()


def test_hybrid_hierarchies():
    mountinfo = (
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n"
        "36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    found = machine.hierarchies("4:memory:/a\n2:cpu,cpuacct:/\n0::/x\n", mountinfo)
    assert {(h.version, h.own, h.controllers) for h in found} == {
        (1, "/sys/fs/cgroup/memory/a", frozenset({"memory"})),
        (1, "/sys/fs/cgroup/cpu,cpuacct", frozenset({"cpu", "cpuacct"})),
        (2, "/sys/fs/cgroup/unified/x", frozenset()),
    }


def test_a_containers_view_of_its_own_cgroup():
    mountinfo = "35 31 0:32 /docker/abc /sys/fs/cgroup/mem\\040ory ro - cgroup cgroup rw,memory\n"
    assert machine.hierarchies("4:memory:/docker/abc/x\n", mountinfo)[0].own == "/sys/fs/cgroup/mem ory/x"
    assert machine.hierarchies("4:memory:/other\n", mountinfo) == ()


V2 = Hierarchy(2, frozenset({"memory", "pids", "cpu", "cpuset", "io"}), "/cg", True)


def test_v2_rows():
    host = HOST._replace(hierarchies=(V2,))
    chosen = cgroup.choose(host, True)
    assert chosen.into == 0
    rows = cgroup.rows(chosen, Limits(cpus=1.5), psi=True, loopback=False)
    written = {r.file: r.value for r in rows if r.when == "set"}
    assert written == {
        "memory.oom.group": "1", "memory.max": str(256 << 20), "memory.swap.max": "0", "pids.max": "64",
        "cpu.max": "150000 100000", "cgroup.max.descendants": "0", "cgroup.max.depth": "0",
    }  # fmt: skip
    assert {"memory.peak", "memory.events", "pids.peak", "pids.events", "io.stat", "cpu.pressure"} <= {
        r.file for r in rows if r.when == "read"
    }
    assert [r.file for r in rows if r.when == "clock"] == ["cpu.stat"]
    assert {r.file: r.value for r in cgroup.rows(chosen, Limits(cpus={0, 2}), False, False) if "cpuset" in r.file} == {
        "cpuset.cpus": "0,2"
    }


def test_disks_that_come_and_go_are_seen_when_looked_at_again(monkeypatch):
    chosen = cgroup.Cgroups((V2,), 0, (("v2", 0), ("io", 0)))
    files = (frozenset({"io.max", "cpu.stat", "cgroup.max.descendants", "cgroup.max.depth"}),)
    limits = Limits(io_rate="1M", memory=None, processes=None, cpus=None)

    def limited() -> list[str]:
        run = compile.run_limits(Jail(strict=False), limits, HOST, chosen, files)
        return [str(row.value).split()[0] for row in run.cgroup if row.file == "io.max"]

    for disks in (("8:0", "8:16"), ("8:0",), ()):
        monkeypatch.setattr(seldom, "disks", lambda found=disks: found)
        prepare.look_again()
        assert limited() == list(disks)


def test_more_disks_than_can_be_limited_are_told(monkeypatch):
    chosen = cgroup.Cgroups((V2,), 0, (("v2", 0), ("io", 0)))
    files = (frozenset({"io.max", "cpu.stat", "cgroup.max.descendants", "cgroup.max.depth"}),)
    limits = Limits(io_rate="1M", memory=None, processes=None, cpus=None)
    monkeypatch.setattr(seldom, "disks", lambda: tuple(f"8:{n}" for n in range(cgroup.MOST_DISKS + 1)))
    prepare.look_again()
    with pytest.raises(HostError, match="17 disks") as e:
        compile.run_limits(Jail(), limits, HOST, chosen, files)
    assert e.value.control == "io_rate"
    run = compile.run_limits(Jail(strict=False), limits, HOST, chosen, files)
    assert [m.control for m in run.missing] == ["io_rate"]
    prepare.look_again()


def test_v1_rows_on_a_hybrid_host():
    names = ("memory", "pids", "cpu")
    host = HOST._replace(
        hierarchies=(
            Hierarchy(2, frozenset(), "/u", True),
            *(Hierarchy(1, frozenset({n}), f"/{n}", True) for n in names),
        ),
    )
    chosen = cgroup.choose(host, False)
    rows = cgroup.rows(chosen, Limits(), False, loopback=True)
    written = {r.file: r.value for r in rows if r.when == "set"}
    limit = str(256 << 20)
    assert written == {
        "memory.limit_in_bytes": limit, "memory.memsw.limit_in_bytes": limit, "memory.kmem.tcp.limit_in_bytes": limit,
        "pids.max": "64", "cpu.cfs_quota_us": "100000", "cgroup.max.descendants": "0", "cgroup.max.depth": "0",
    }  # fmt: skip
    assert list(written).index("memory.limit_in_bytes") < list(written).index("memory.memsw.limit_in_bytes")


@pytest.mark.parametrize(
    ("limits", "control"),
    [
        (Limits(), "memory"),
        (Limits(memory=None), "processes"),
        (Limits(memory=None, processes=None, cpus=0.5), "cpus"),
        (Limits(memory=None, processes=None, cpus=None), "cpu_time"),
    ],
)
def test_limits_without_cgroups_are_refused_with_the_fix(limits, control):
    host = HOST._replace(hierarchies=())
    with pytest.raises(HostError) as e:
        compile.run_limits(Jail(), limits, host, cgroup.choose(host, False), ())
    assert e.value.control == control
    assert "systemd-run" in e.value.hint
    run = compile.run_limits(Jail(strict=False), limits, host, cgroup.choose(host, False), ())
    assert control in {m.control for m in run.missing}


def test_a_kernel_without_a_file_is_refused():
    host = HOST._replace(hierarchies=(V2,), swap=True)
    files = frozenset({"memory.max", "pids.max", "cpu.max", "cpu.stat"})
    with pytest.raises(HostError, match=r"memory\.swap\.max"):
        compile.run_limits(Jail(), Limits(), host, cgroup.choose(host, False), (files,))


def test_cpus_that_are_not_ours():
    with pytest.raises(SpecError) as e:
        compile.run_limits(Jail(), Limits(cpus={4000}), HOST, cgroup.choose(HOST, True), ())
    assert e.value.field == "cpus"


@pytest.mark.parametrize("abi", range(8))
def test_landlock_asks_only_what_the_abi_has(abi):
    rules = landlock.ruleset(Jail(), abi)
    assert rules.fs < 1 << (0, 13, 14, 15, 15, 16, 16, 16)[abi]
    assert (rules.net > 0) == (abi >= 4)
    assert (rules.scoped > 0) == (abi >= 6)
    assert all(r.access & ~rules.fs == 0 for r in rules.rules)
    assert landlock.ruleset(Jail(landlock=False), abi).fs == 0


def test_ids_are_the_keepers_own_and_never_root():
    seen = set()
    for pid in (1, 2, 4194304, 77):
        m = ids.maps(
            Jail(), HOST._replace(pid_namespace=0, capabilities=2**41 - 1, uid_ranges=((0, 2**32 - 1),)), pid, False
        )
        assert m.outside_uid != 0
        seen.add(m.outside_uid)
    small = HOST._replace(pid_namespace=0, capabilities=2**41 - 1, uid_ranges=((0, 65536),), id_range=None)
    m = ids.maps(Jail(), small, 12345, False)
    assert 32768 <= m.outside_uid < 65536
    user = HOST._replace(
        pid_namespace=0, capabilities=0, euid=1001, egid=1002, subuids=(100000, 65536), subgids=(200000, 10)
    )
    own = ids.maps(Jail(), user, 5, False)
    assert (own.uid_map, own.gid_map, own.keeper, own.helper) == (((1000, 1001, 1),), ((1000, 1002, 1),), None, False)
    assert ids.maps(Jail(), small._replace(id_range=(500000, 10)), 3, False).outside_uid == 500006
    sub = ids.maps(Jail(), user, 65541, True)
    assert sub.uid_map == ((1000, 100005, 1), (ids.KEEPER, 1001, 1))
    assert sub.gid_map == ((1000, 200001, 1), (ids.KEEPER, 1002, 1))
    assert (sub.keeper, sub.helper, sub.outside_uid) == (None, True, 100005)
    assert small._replace(uid_ranges=((0, 1),)).maps_ids is False  # as unshare --map-root-user makes it


def test_the_mount_tree_never_creates_in_what_is_not_ours():
    tree = {"/r": (Entry("a", "dir", "/r/a"), Entry("l", "link", "/r/l", "a")), "/r/a": (Entry("f", "file", "/r/a/f"),)}
    jail = Jail(rootfs="/r", mounts=(Mount.bind("/src", "/a/new/deep"),))
    rows = mounts.template(
        jail,
        HOST,
        tree.__getitem__,
        lambda p: ("dir", p) if p == "/src" else (_ for _ in ()).throw(FileNotFoundError(2, "x")),
        True,
        asked=asked_for.nodes(jail, lambda p: ("dir", p)),
    )
    by_target = {r.target: r for r in rows if r.kind in ("bind", "dir", "file", "link")}
    assert by_target["a/new/deep"].source == "/src"
    assert by_target["a/f"].source == "/r/a/f"
    assert not [r for r in rows if r.kind == "bind" and r.target == "a"]
    with pytest.raises(SpecError, match="symlink"):
        linked = replace(jail, mounts=(Mount.bind("/src", "/l/x"),))
        asked = asked_for.nodes(linked, lambda p: ("dir", p))
        mounts.template(linked, HOST, tree.__getitem__, lambda p: ("dir", p), True, asked=asked)


def test_an_interpreter_below_tmp_is_put_back_over_the_runs_tmpfs():
    parts = (
        Part("/tmp/venv/x/bin/python", "link", b"/tmp/python3"),
        Part("/tmp/python3", "file"),
        Part("/usr/a", "dir"),
    )
    view = Seen(parts, roots=("/tmp/venv/x", "/tmp", "/usr"))
    rows = asked_for.over_tmpfs(Jail(), lambda p: ("dir", p), view)
    assert [(r.kind, r.target) for r in rows] == [
        ("file", "tmp/python3"), ("rebind", "tmp/python3"),
        ("dir", "tmp/venv"), ("dir", "tmp/venv/x"), ("rebind", "tmp/venv/x"),
    ]  # fmt: skip


def test_without_a_quota_a_share_of_cpus_is_kept_only_by_all_that_there_are():
    """A narrow affinity is no limit: a program can widen it."""
    host = HOST._replace(cpus=frozenset({0}), online=8, hierarchies=())
    chosen = cgroup.choose(host, False)
    for cpus, missing in ((1, True), (7.5, True), (8, False)):
        limits = Limits(cpus=cpus, cpu_time=None, memory=None, processes=None)
        run = compile.run_limits(Jail(strict=False), limits, host, chosen, ())
        assert ("cpus" in {m.control for m in run.missing}) is missing
    limits = Limits(cpus={0}, cpu_time=None, memory=None, processes=None)
    assert compile.run_limits(Jail(strict=False), limits, host, chosen, ()).busy == 8


@pytest.mark.parametrize("count", [8388608, 65536, 4098])
@pytest.mark.parametrize("helper", [False, True])
def test_keepers_with_the_same_pid_in_two_containers_have_ids_of_their_own(count, helper):
    host = HOST._replace(id_range=(1 << 30, count), subuids=(1 << 29, count), subgids=(1 << 29, count))
    host = host._replace(capabilities=0 if helper else 2**41 - 1, uid_ranges=((0, 1 << 32),))

    def outside(namespace: int, pid: int) -> int:
        return ids.maps(Jail(), host._replace(pid_namespace=namespace), pid, helper).outside_uid

    namespaces = range(4026531836, 4026531836 + 30)  # of containers that were started one after the other
    assert len({outside(namespace, 17) for namespace in namespaces}) == 30
    assert len({outside(4026531836, pid) for pid in range(1, 2000)}) == 1999
