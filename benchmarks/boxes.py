"""``python benchmarks/boxes.py [exec|make|many|once|table]...``: what a box costs, beside a warm run, a session, bubblewrap.

exec: a program in a box, beside `pyjail.run`, in turns, sustained. make: a new box and its first program. many: boxes alive
with a sleeping program in each, and what each takes of our own. once: sixteen programs at once in one box. end: until
nothing is left of a box. table: all ways of it, with what they keep.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import pyjail
from pyjail import Box, Limits

TRUE = ["/bin/true"]
SLEEP = ["/bin/sleep", "600"]
BWRAP = ["bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
         "--symlink", "usr/bin", "/bin", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--die-with-parent"]  # fmt: skip


def in_turns(ways: dict[str, Callable[[], object]], rounds: int, each: int) -> dict[str, list[float]]:
    """ms of a call, for each round of each way: so many calls without a pause."""
    for call in ways.values():
        for _ in range(20):
            call()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in list(ways) if turn % 2 else reversed(list(ways)):
            begin = time.perf_counter()
            for _ in range(each):
                ways[name]()
            found[name].append((time.perf_counter() - begin) / each * 1e3)
    return found


def ratio(found: dict[str, list[float]], name: str, of: str) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(found[name], found[of], strict=True))


def exec_() -> None:
    with Box() as box:
        found = in_turns({"box": lambda: box.run(TRUE), "run": lambda: pyjail.run(TRUE)}, 60, 100)
    print(f"exec in a box {statistics.median(found['box']):.2f} ms, a warm run {statistics.median(found['run']):.2f} ms: "
          f"{ratio(found, 'box', 'run'):.2f} x")  # fmt: skip


def make() -> None:
    pyjail.run(TRUE)
    made, first, ended = [], [], []
    for _ in range(40):
        begin = time.perf_counter()
        box = Box()
        box.__enter__()
        made.append((time.perf_counter() - begin) * 1e3)
        box.run(TRUE)
        first.append((time.perf_counter() - begin) * 1e3)
        begin = time.perf_counter()
        box.close()
        ended.append((time.perf_counter() - begin) * 1e3)
    print(f"a new box {statistics.median(made):.1f} ms, with its first program {statistics.median(first):.1f} ms, "
          f"its end {statistics.median(ended):.1f} ms (at most {max(ended):.0f})")  # fmt: skip


def available() -> int:
    """KiB that the machine could still give."""
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("MemAvailable"))


def own(pids: set[int]) -> int:
    """KiB of these processes, what they share with others counted in shares."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0])
        except (OSError, IndexError):
            continue
    return total


def below(pid: int) -> set[int]:
    """Its children, and theirs."""
    try:
        children = {int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()
    return children.union(*map(below, children))


def many(count: int = 500) -> None:
    me = os.getpid()
    with subprocess.Popen(SLEEP) as bare:
        bare.kill()
    before = available()
    bare_ones = [subprocess.Popen(SLEEP) for _ in range(count)]
    time.sleep(1)
    bare_each = (before - available()) / count
    for process in bare_ones:
        process.kill()
        process.wait()
    time.sleep(2)
    before, mine, known = available(), own({me}), below(me)
    begin = time.perf_counter()
    running = []
    boxes = []
    for _ in range(count):
        box = Box(limits=Limits(memory="64M", processes=8, wall_time=None))
        running.append(box.start(SLEEP, stdin=pyjail.DEVNULL, stdout=pyjail.DEVNULL, stderr=pyjail.DEVNULL))
        boxes.append(box)
    took = time.perf_counter() - begin
    time.sleep(1)
    new = below(me) - known
    ours = {pid for pid in new if "sleep" not in Path(f"/proc/{pid}/comm").read_text()}
    processes, python, machine = own(ours) / count, (own({me}) - mine) / count, (before - available()) / count
    print(f"{count} boxes alive in {took:.1f} s, each with a sleeping program: our processes {processes:.0f} KiB and Python's "
          f"part {python:.0f} KiB each; of the machine {machine:.0f} KiB each, a bare sleep {bare_each:.0f} KiB")  # fmt: skip
    begin = time.perf_counter()
    for box in boxes:
        box.close()
    print(f"the end of all {time.perf_counter() - begin:.1f} s")


def once(count: int = 16) -> None:
    with Box(concurrency=count) as box:
        box.run(TRUE)
        begin = time.perf_counter()
        threads = [threading.Thread(target=box.run, args=(["/bin/sleep", "0.5"],)) for _ in range(count)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        print(f"{count} programs at once that sleep 500 ms: {(time.perf_counter() - begin) * 1e3:.0f} ms")


def end() -> None:
    before = below(os.getpid())
    box = Box()
    for _ in range(8):
        box.run(["sh", "-c", "sleep 600 & sleep 600 &"], orphans="keep")
    known = below(os.getpid()) - before
    begin = time.perf_counter()
    box.close()
    while below(os.getpid()) & known and time.perf_counter() - begin < 10:
        time.sleep(0.001)
    print(f"nothing is left of a box with {len(known)} processes after {(time.perf_counter() - begin) * 1e3:.0f} ms")


def table() -> None:
    """A shell that writes a file where the next one finds it, as far as that is possible."""
    write = ["/bin/sh", "-c", "echo x > f; cat f"]
    ways: dict[str, Callable[[], object]] = {}
    with Box() as box, pyjail.Session() as session, tempfile.TemporaryDirectory() as kept:
        ways["Box.run"] = lambda: box.run(write)
        ways["Session.run"] = lambda: session.run(write)
        ways["run"] = lambda: pyjail.run(write)
        if shutil.which("bwrap"):
            command = [*BWRAP, "--bind", kept, "/box", "--chdir", "/box", *write]
            ways["bwrap"] = lambda: subprocess.run(command, check=True, capture_output=True)
        ways["subprocess.run"] = lambda: subprocess.run(write, check=True, capture_output=True, cwd=kept)
        found = in_turns(ways, 10, 30)
    for name, times in found.items():
        print(f"{name:16} {statistics.median(times):6.2f} ms {ratio(found, name, 'subprocess.run'):5.2f} x")


WAYS = {"exec": exec_, "make": make, "many": many, "once": once, "end": end, "table": table}

if __name__ == "__main__":
    for way in sys.argv[1:] or WAYS:
        WAYS[way]()
