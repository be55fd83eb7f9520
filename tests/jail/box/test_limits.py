"""Limits of the whole: whatever programs do together."""

from __future__ import annotations

import contextlib
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyjail import DEVNULL, Box, Jail, Limits, Verdict
from tests.conftest import SLOW
from tests.host_side import keepers_of
from tests.jail.box.programs import PYTHON, shell
from tests.scripts import until

LONG = {"cpu_time": 60 * SLOW, "wall_time": 120 * SLOW}
NOTHING = {"stdin": DEVNULL, "stdout": DEVNULL, "stderr": DEVNULL}


def own_memory(pid: int) -> int:
    """Bytes that no other process has, too."""
    with contextlib.suppress(OSError):
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def test_many_programs_in_64_mib_stay_in_64_mib():
    """Each would take 4 MiB, and waits for the end of all. How soon the kernel takes some depends on who else is busy."""
    eats = "import time; x = bytearray(4 << 20); x[::4096] = b'x' * len(x[::4096]); time.sleep(600)"
    with Box(limits=Limits(memory="64M", processes=200, cpus=None, **LONG), disk="16M") as box:
        running = [box.start([*PYTHON, eats], **NOTHING) for _ in range(40)]

        def taken() -> int:
            return sum(p.poll() is not None for p in running)

        assert until(lambda: taken() > 2, 100)
        assert int(box.receipt["memory"].value.split(",")[0]) == 64 << 20
        for _ in range(20):
            assert sum(own_memory(p.host_pid) for p in box.processes()) <= 72 << 20  # one after the other, and some end
        before = taken()
        box.kill()
        for p in running:
            p.wait()
        verdicts = [p.result.verdict for p in running]
    assert set(verdicts) <= {Verdict.MEMORY, Verdict.SIGNALED}
    assert verdicts.count(Verdict.MEMORY) >= before  # those that the kernel took; the others were killed by us


def test_one_that_eats_all_is_told_memory_and_the_others_live():
    with Box(limits=Limits(memory="64M", **LONG), disk="16M") as box:
        with box.start(["cat"]) as p:
            r = box.run([*PYTHON, "x = bytearray(500 << 20)"])
            assert r.verdict is Verdict.MEMORY
            r = box.run(
                [*PYTHON, "x = b''.join(bytes([1]) * (1 << 20) for _ in range(500))"], Limits(memory=None, **LONG)
            )
            assert r.verdict is Verdict.MEMORY and r.error is None
            assert p.communicate(b"x") == (b"x", b"")
        assert box.run(["true"]).verdict is Verdict.OK


def test_a_program_s_own_limit_is_its_own_verdict():
    with Box(limits=Limits(memory="256M", **LONG)) as box:
        r = box.run([*PYTHON, "x = b''.join(bytes([1]) * (1 << 20) for _ in range(500))"], Limits(memory="32M", **LONG))
        assert r.verdict is Verdict.MEMORY and r.usage.memory_peak <= 32 << 20
        assert r.receipt["memory"].asked == "32M"


def test_files_are_memory_of_the_box_and_have_one_disk():
    with Box(limits=Limits(memory="256M", **LONG), disk="8M", inodes=100) as box:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda i: box.run(shell(f"head -c 8M /dev/zero > /tmp/{i}")), range(4)))
        assert sum(len(box.read(f"/tmp/{i}")) for i in range(4)) <= 8 << 20
        box.run(shell("rm /tmp/*; i=0; while touch /home/$i; do i=$((i + 1)); done"))
        assert len(box.list("**", "/home")) < 100


def test_places_that_nobody_needs_any_more_are_given_up():
    with Box(limits=Limits(**LONG)) as box:
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda _: box.run(["sleep", "0.3"]), range(16)))
        assert until(lambda: len(keepers_of(os.getpid())) <= 6, 10)  # guard, keeper, four that are armed
        assert box.run(["true"]).verdict is Verdict.OK


def test_forks_of_all_programs_are_counted_together():
    """``processes``, and the few places that are kept ready."""
    forks = "import os, time\nn = 0\ntry:\n    while os.fork(): n += 1\n    time.sleep(600)\nexcept OSError: print(n, flush=True); time.sleep(600)"
    with Box(limits=Limits(processes=40, memory="256M", **LONG)) as box:
        running = [box.start([*PYTHON, forks], **NOTHING) for _ in range(4)]
        assert until(lambda: len(box.processes()) >= 30, 20)
        # One after the other is looked at: who ends and who begins meanwhile may both be told.
        assert until(lambda: 30 <= len(box.processes()) <= 56, 60)
        box.kill()
        for p in running:
            p.wait()
        assert box.processes() == []
        assert box.run(["true"]).verdict is Verdict.OK


def test_a_fork_bomb_that_is_cancelled_is_gone():
    with Box(limits=Limits(processes=64, **LONG)) as box:
        with box.start(["cat"]) as other:
            p = box.start(shell("f() { f | f & }; f; f; sleep 99"), **NOTHING)
            time.sleep(0.5)
            p.kill()
            p.wait(20 * SLOW)
            assert until(lambda: [q.args for q in box.processes()] == [("cat",)])
            other.kill()


def test_cpus_are_of_the_whole():
    burn = "import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: pass"
    with Box(limits=Limits(cpus=0.5, **LONG)) as box:
        began = time.monotonic()
        with ThreadPoolExecutor(3) as threads:
            results = list(threads.map(lambda _: box.run([*PYTHON, burn]), range(3)))
        assert sum(r.usage.cpu_time for r in results) < 0.75 * (time.monotonic() - began)


def test_the_receipt_of_the_whole_says_what_the_kernel_says():
    with Box(limits=Limits(memory="100M", processes=10, cpus=0.5), disk="8M") as box:
        rows = {row.name: row for row in box.receipt}
        assert rows["memory"].status == "enforced" and str(100 << 20) in rows["memory"].value
        assert rows["processes"].value == "26" and rows["cpus"].status == "enforced"
        assert rows["disk"].asked == "8M"
    with Box(Jail(), Limits(memory=None, processes=None, cpus=None)) as box:
        assert {row.name: row.status for row in box.receipt}["memory"] == "not_asked"
        assert box.run(["true"]).verdict is Verdict.OK
