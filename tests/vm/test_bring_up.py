"""Every place that a caller may start from: limits hold, or the error has the command that makes them hold."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import pyjail
from pyjail import Limits, Verdict
from tests import place
from tests.host_side import keepers_of
from tests.vm.cells import cell, given, inside, mine

ROOT = os.geteuid() == 0


def test_the_place_is_what_it_says():
    assert place.name() == place.EXPECTED
    assert place.CGROUPS


def test_everything_is_enforced_by_files_of_v2():
    r = pyjail.run(["true"], Limits(cpus=0.5))
    assert r.receipt.not_enforced == ()
    by = {row.name: row.enforced_by for row in r.receipt}
    assert by["memory"] == "memory.max, memory.swap.max" or by["memory"] == "memory.max"
    assert (by["processes"], by["cpus"], by["cpu_time"]) == ("pids.max", "cpu.max", "keeper, by cpu.stat")
    counters = {row.name.removeprefix("counter "): row for row in r.receipt if row.name.startswith("counter ")}
    assert {name: row.enforced_by for name, row in counters.items()} == {
        "cpu_time": "cpu.stat", "memory_peak": "memory.peak", "oom_kills": "memory.events", "memory_left": "memory.stat",
        "processes_peak": "pids.peak", "io_read": "io.stat", "pressure": "cpu.pressure", "throttled_time": "cpu.stat",
    }  # fmt: skip
    assert "reset" in counters["memory_peak"].value
    assert r.usage.memory_left["kernel"] >= 0
    assert r.usage.pressure.keys() == {"cpu", "memory", "io"}


def test_tmpfs_files_explain_the_peak(sh):
    # memory.stat is as old as 2 s while somebody else brings it up to date (spin_trylock in __mem_cgroup_flush_stats of
    # Linux 6.1, mm/memcontrol.c): a busy guest meets that now and then, not three times in a row.
    runs = [sh("head -c 9000000 /dev/zero > /tmp/x") for _ in range(3)]
    assert max(r.usage.memory_left["shmem"] for r in runs) >= 9000000
    assert all(r.usage.memory_peak >= 9000000 for r in runs)


def test_keeper_init_and_program_stay_below_what_was_given():
    import threading

    t = threading.Thread(target=pyjail.run, args=(["sleep", "3"],))
    t.start()
    while not any(Path(f"/proc/{p}/comm").read_text() == "sleep\n" for p in keepers_of(os.getpid())):
        pass
    below = str(given()).removeprefix("/sys/fs/cgroup")
    paths = [Path(f"/proc/{p}/cgroup").read_text().strip()[3:] for p in keepers_of(os.getpid())]
    t.join()
    own = Path("/proc/self/cgroup").read_text().strip()[3:]  # a guard stays here: it removes what its keeper was in
    assert len([p for p in paths if p.startswith(f"{below}/pyjail-{os.getpid()}-")]) >= 2
    assert all(p == own or p.startswith(f"{below}/pyjail-{os.getpid()}-") for p in paths)


def test_in_a_units_own_cgroup_the_fix_is_named_and_nobody_is_moved():
    with cell() as unit:
        out = inside(unit, "before = where(); refused(); print(before == where())")
    assert out.startswith("memory | ")
    assert f"{unit}/cgroup.subtree_control takes no +memory" in out
    assert "pyjail.cgroup.enter_leaf()" in out
    assert "PYJAIL_ENTER_LEAF=1" in out
    assert "\nTrue" in out


def test_enter_leaf_moves_the_caller_alone_and_then_everything_holds():
    with cell() as unit:
        out = inside(
            unit,
            """
            top = where()
            leaf = pyjail.cgroup.enter_leaf()
            print(where() == top + "/" + os.path.basename(leaf), leaf == pyjail.cgroup.enter_leaf() or where())
            r = hog()
            print(r.verdict, r.oom_kills > 0, r.receipt.not_enforced)
            print(pyjail.run(["true"]).ok, subprocess.run([sys.executable, "-c", "import pyjail; print(pyjail.run(['true']).ok)"],
                  capture_output=True, text=True).stdout.strip())
            """,
        )
        lines = out.splitlines()
        assert lines[0].startswith("True")
        assert lines[1:] == ["memory True ()", "True True"]
        assert (unit / "cgroup.procs").read_text() == ""
        leaf = [p.name for p in unit.iterdir() if p.name.startswith("pyjail-")]
        assert all(name.startswith("pyjail-leaf-") for name in leaf)
        # the next caller in the same unit removes the leaf that a dead one left (a service manager starts nobody in
        # a cgroup that hands controllers to children)
        (unit / "cgroup.subtree_control").write_text(
            " ".join(f"-{c}" for c in (unit / "cgroup.subtree_control").read_text().split())
        )
        inside(unit, "pyjail.run(['true'])", enter=True)
        assert not set(leaf) & {p.name for p in unit.iterdir()}


def test_the_environment_variable_does_the_same():
    with cell() as unit:
        assert inside(unit, "print(hog().verdict, '/pyjail-leaf-' in where())", enter=True) == "memory True\n"


def test_the_janitor_steps_aside_with_its_embedder():
    with cell() as unit:
        out = inside(
            unit,
            """
            pyjail.run(["true"], Limits(memory=None, processes=None, cpus=None))  # it is there before
            from tests.host_side import janitors_of
            before = janitors_of(os.getpid())
            pyjail.cgroup.enter_leaf()
            pyjail.run(["true"])
            after = janitors_of(os.getpid())
            print(len(before), len(after), before != after, [where(p) for p in after] == [where()])
            """,
        )
    assert out == "1 1 True True\n"


def test_other_processes_in_the_way_are_named_and_left_alone():
    with cell() as unit:
        other = subprocess.Popen(["sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec sleep 1000', str(unit)])
        try:
            while str(other.pid) not in (unit / "cgroup.procs").read_text().split():
                pass
            out = inside(
                unit,
                "refused(); print(open(f'/proc/{os.environ[\"OTHER\"]}/cgroup').read()[3:])".replace(
                    'os.environ["OTHER"]', str(other.pid)
                ),
                enter=True,
            )
            assert f"{other.pid}" in out.partition("|")[2]
            assert "others/cgroup.procs" in out
            assert out.strip().endswith(str(unit).removeprefix("/sys/fs/cgroup"))
        finally:
            other.kill()
            other.wait()


@pytest.mark.parametrize(("lacks", "control"), [("memory", "memory"), ("pids", "processes"), ("cpu", "cpus")])
def test_a_controller_that_the_parent_does_not_hand_down(lacks, control):
    with cell(*{"memory", "pids", "cpu"} - {lacks}) as unit:
        out = inside(
            unit,
            "refused(Limits(cpus=0.5)); r = pyjail.run(['true'], Limits(cpus=0.5), jail=Jail(strict=False)); print(r.ok, [c.name for c in r.receipt.not_enforced])",
            enter=True,
        )
    first, second = out.splitlines()
    assert first.startswith(
        f"{control} | {unit}/cgroup.controllers has no {lacks}: {unit.parent}/cgroup.subtree_control"
    )
    assert f"echo +{lacks} > {unit.parent}/cgroup.subtree_control" in first
    assert second == f"True ['{control}']"


def test_limits_that_need_no_missing_controller_run_strictly():
    with cell("pids") as unit:
        out = inside(
            unit,
            "r = pyjail.run(['true'], Limits(memory=None, cpus=None)); print(r.ok, r.receipt.not_enforced)",
            enter=True,
        )
    assert out == "True ()\n"


def test_no_more_cgroups_allowed():
    with cell() as unit:
        (unit / "cgroup.max.descendants").write_text("1")  # the leaf of the caller itself
        out = inside(unit, "refused()", enter=True)
        assert "cgroup.max.descendants" in out
        (unit / "cgroup.max.descendants").write_text("4")  # the directories of a keeper, no leaf of a run
        assert "max.descendants" in inside(
            unit,
            """
            try: print(pyjail.run(["true"]))
            except pyjail.JailError as e: print(e)
            """,
            enter=True,
        )
        assert not [p for p in unit.iterdir() if p.is_dir() and "leaf" not in p.name]


def test_a_threaded_cgroup():
    with cell() as unit:
        (unit / "sub").mkdir()
        (unit / "sub/cgroup.type").write_text("threaded")
        out = inside(unit, f"open('{unit}/sub/cgroup.threads', 'w').write(str(os.getpid())); refused()")
    assert out.startswith("memory | ")
    assert "controllers has no memory" in out or "threaded" in out


def test_a_container_with_a_cgroup_namespace_of_its_own():
    """/proc/self/cgroup says "/", yet it is no root: its processes are in the way, as in every container."""
    with cell() as unit:
        wrap = (
            ("unshare", "--user", "--map-root-user", "--cgroup", "--mount")
            if not ROOT
            else ("unshare", "--cgroup", "--mount")
        )
        # the kernel refuses a second mount of one file system on the same directory: by way of another one
        mount = (
            "sh",
            "-c",
            'd=$(mktemp -d) && mount -t cgroup2 cgroup2 "$d" && mount --bind "$d" /sys/fs/cgroup && umount "$d" && exec "$@"',
            "sh",
        )
        code = "refused(); print(where()); print(pyjail.cgroup.enter_leaf()[:34]); print(hog().verdict)"
        out = inside(unit, code, wrap=(*wrap, *mount)).splitlines()
    assert "/sys/fs/cgroup/cgroup.subtree_control takes no +memory" in out[0]
    assert out[1:] == ["/", "/sys/fs/cgroup/pyjail-leaf-" + out[2][27:], "memory"]


def test_a_read_only_cgroup_mount():
    with cell() as unit:
        wrap = ("unshare", "--user", "--map-root-user", "--mount") if not ROOT else ("unshare", "--mount")
        mount = (
            "sh",
            "-c",
            'mount --bind /sys/fs/cgroup /sys/fs/cgroup; mount -o remount,bind,ro /sys/fs/cgroup && exec "$@"',
            "sh",
        )
        out = inside(unit, "refused(); print(pyjail.run(['true'], jail=Jail(strict=False)).ok)", wrap=(*wrap, *mount))
    assert "memory | /sys/fs/cgroup is mounted read-only | mount -o remount,rw" in out
    assert out.endswith("\nTrue\n")


@pytest.mark.needs_root
def test_somebody_elses_cgroup_is_refused_with_the_way_to_an_own_one():
    with cell() as unit:
        user = ("setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups")
        out = inside(unit, "refused()", wrap=("env", "HOME=/tmp", *user))
        assert f"memory | the cgroup {unit} belongs to uid 0, this process is uid 1234" in out
        assert "systemd-run --user --scope -p Delegate=yes" in out
        # the directory alone is not enough
        os.chown(unit, 1234, 1234)
        assert f"{unit}/cgroup.procs is not writable for uid 1234" in inside(unit, "refused()", wrap=user)
        os.chown(unit / "cgroup.procs", 1234, 1234)
        assert f"chown 1234 {unit}/cgroup.subtree_control" in inside(unit, "refused()", enter=True, wrap=user)
        os.chown(unit / "cgroup.subtree_control", 1234, 1234)
        assert inside(unit, "print(hog().verdict)", enter=True, wrap=user) == "memory\n"


def test_at_the_root_of_the_hierarchy_nothing_has_to_move():
    where = pyjail.cgroup.enter_leaf()
    assert where == str(given())
    if ROOT:
        assert mine() == Path("/sys/fs/cgroup")
    assert (
        pyjail.run(["sh", "-c", "head -c 60000000 /dev/zero > /tmp/x"], Limits(memory="24M")).verdict is Verdict.MEMORY
    )
