"""Controls of cgroup v2 that need its kernel: swap, rates of a disk, limits above ours, controllers taken away."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

import pyjail
from pyjail import Limits, Mount, Verdict
from pyjail._cgroups import tree
from tests.conftest import SLOW
from tests.vm.cells import cell, inside

FAR = Limits(cpu_time=60 * SLOW, wall_time=60 * SLOW)


def test_a_program_cannot_swap_its_way_out_of_its_memory(sh):
    assert len(Path("/proc/swaps").read_text().splitlines()) == 2  # the guest has an active swap
    r = sh("head -c 60000000 /dev/zero > /tmp/x", Limits(memory="24M", wall_time=60 * SLOW, cpu_time=60 * SLOW))
    assert r.verdict is Verdict.MEMORY
    assert r.receipt["memory"].enforced_by == "memory.max, memory.swap.max"
    assert r.usage.memory_peak <= 24 << 20


def test_the_rate_of_a_disk():
    box = Path("/mnt/disk", f"box-{os.getpid()}")
    box.mkdir()
    box.chmod(0o777)  # as root, the program has an outside id of its own
    mount = Mount.bind(box, "/data", ro=False)
    r = pyjail.run(
        ["dd", "if=/dev/zero", "of=/data/f", "bs=256k", "count=16", "oflag=direct"],
        Limits(io_rate="1M", disk="64M", cpu_time=60 * SLOW, wall_time=120 * SLOW),
        jail=pyjail.Jail(mounts=[mount]),
    )
    assert r.ok, r
    assert r.receipt["io_rate"].enforced_by == "io.max"
    assert r.usage.io_written >= 4 << 20
    assert r.usage.wall_time > 2.5  # 4 MiB at 1 MiB/s; the kernel lets a first slice pass
    (box / "f").unlink()  # the caller's own file
    box.rmdir()


def test_a_limit_above_that_is_smaller_is_refused_with_its_file():
    with cell() as unit:
        (unit / "memory.max").write_text(str(80 << 20))
        (unit.parent / "pids.max").write_text("30")
        out = inside(
            unit, "refused(); refused(Limits(memory='40M')); refused(Limits(memory='40M', processes=20))", enter=True
        )
    first, second, third = out.splitlines()
    assert first.startswith(f"memory | {unit}/memory.max is {80 << 20}, below what was asked")
    assert second.startswith(f"processes | {unit.parent}/pids.max is 30, below what was asked")
    assert third == "ok"


def test_an_out_of_memory_kill_from_above_is_never_the_programs_memory_verdict():
    """The limit above shrinks after the first run: the kernel kills there, and our own limit was not reached."""
    with cell() as unit:
        out = inside(
            unit,
            f"""
            LIMITS = Limits(memory="100M", wall_time=600, cpu_time=300)
            print(pyjail.run(["true"], LIMITS).verdict)
            open("{unit}/memory.max", "w").write(str(90 << 20))  # the embedder's own is in it, too, and smaller
            r = pyjail.run([sys.executable, "-c", "x = b'x' * 95000000"], LIMITS)
            print(r.verdict, "|", r.error)
            open("{unit}/memory.max", "w").write("max")
            print(hog().verdict)
            """,
            enter=True,
        )
    first, second, third = out.splitlines()
    assert (first, third) == ("ok", "memory")
    assert second.startswith("jail_error | the kernel's out-of-memory killer took")


TAKE = """
# Take a controller from the children of ``top``, from the bottom up: what holds it below must let go of it first.
import errno
def take(controller, top):
    for d, _, _ in os.walk(top, topdown=False):
        try:
            if controller in open(d + "/cgroup.subtree_control").read(): open(d + "/cgroup.subtree_control", "w").write("-" + controller)
        except OSError as e:  # a leaf that its keeper removes just now
            if e.errno not in (errno.ENOENT, errno.ENODEV): raise
"""


@pytest.mark.parametrize("controller", ["memory", "pids"])
def test_a_controller_taken_away_between_two_runs_is_taken_back_or_its_lack_is_named(controller):
    with cell() as unit:
        out = inside(
            unit,
            TAKE
            + f"""
def tried():
    try: r = hog()
    except HostError as e: return f"{{e.control}} | {{e.cause}}"
    return f"{{r.verdict}} | {{r.error}}"
print(tried())
take("{controller}", "{unit}")
first = tried()
print(first.startswith(("memory | None", "jail_error | ")), first)
print(tried())
take("{controller}", "{unit.parent}")
first = tried()
print(first.startswith(("memory | {unit}", "processes | {unit}", "jail_error | ")), first)
print(tried())
""",
            enter=True,
        )
    lines = out.splitlines()
    assert lines[0] == lines[2] == "memory | None"
    assert lines[1].startswith("True"), lines[1]
    assert lines[3].startswith("True"), lines[3]
    control = {"memory": "memory", "pids": "processes"}[controller]
    assert lines[4].startswith(f"{control} | {unit}/cgroup.controllers has no {controller}")


def test_a_controller_taken_away_during_a_run_is_a_jail_error_that_names_it():
    with cell() as unit:
        out = inside(
            unit,
            TAKE
            + f"""
import threading
found = []
def victim(): found.append(pyjail.run(["sh", "-c", "echo started; sleep {int(2 + SLOW)}"], Limits(wall_time=600)))
t = threading.Thread(target=victim)
t.start()
def sleeping():
    for d, _, _ in os.walk("{unit}"):
        try:
            for pid in open(d + "/cgroup.procs").read().split():
                if open(f"/proc/{{pid}}/comm").read() == "sleep\\n": return True
        except OSError: pass  # it is gone meanwhile
while not sleeping(): time.sleep(0.05)
take("memory", "{unit}")
t.join()
print(found[0].verdict, "|", found[0].error)
print(hog().verdict)
""",
            enter=True,
        )
    first, second = out.splitlines()
    assert first.startswith("jail_error | ")
    assert "memory" in first
    assert second == "memory"


def test_a_kernel_without_cgroup_kill_freezes_and_kills_one_by_one():
    """Before Linux 5.14. Here the file is there, on a read-only mount."""
    with cell() as unit:
        (unit / "below").mkdir()
        held = [
            subprocess.Popen(["sh", "-c", f"echo 0 > {w}/cgroup.procs && exec sleep 1000"])
            for w in (unit, unit, unit / "below")
        ]
        end = time.monotonic() + 10 * SLOW
        while (
            len((unit / "cgroup.procs").read_text().split()) != 2 or not (unit / "below/cgroup.procs").read_text()
        ) and time.monotonic() < end:
            time.sleep(0.02)
        bind = f"mount --bind {unit}/cgroup.kill {unit}/cgroup.kill && mount -o remount,bind,ro {unit}/cgroup.kill"
        ns = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
        code = f"from pyjail._cgroups import stale as _stale; _stale.kill_tree({str(unit)!r})"
        import sys

        subprocess.run([*ns, "sh", "-c", f'{bind} && exec "$@"', "sh", sys.executable, "-c", code], check=True)
        assert [p.wait(10 * SLOW) for p in held] == [-9, -9, -9]
        assert (unit / "cgroup.freeze").read_text() == "1\n"
        (unit / "cgroup.freeze").write_text("0")
    assert tree.remove_tree(str(unit))
