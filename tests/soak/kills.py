"""Embedders killed by SIGKILL at random moments: a second later nothing of theirs is left on the machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import SLOW
from tests.host_side import cgroups_of, mounts, shm_segments
from tests.scripts import PRELUDE

LATER_S = 1.0  # after the kill, when nothing may be left any more
AT_ONCE = 4
HEAD = """
import random, sys, threading, time
import pyjail
from pyjail import Jail, Limits, Party
rng = random.Random(SEED)
TINY = Limits(memory="32M", wall_time=20)
def ready(): print("go", flush=True)
"""
# What the embedder is doing when it dies. In the first one a keeper is being born, whatever the instant.
EMBEDDERS = {
    "birth": """
ready()
while True:
    pyjail.run(["true"], TINY, jail=Jail(hostname=f"h{rng.randrange(10**9)}"))
""",
    "first run": """
ready()
pyjail.run(["sleep", "100"], Limits(wall_time=None))
""",
    "runs": """
def loop(i):
    while True:
        pyjail.run(["sh", "-c", "sleep 0.0%d & sleep 0.0%d; head -c 100 /dev/zero > f" % (rng.randrange(10), rng.randrange(5))],
                   TINY, files={"a": b"x"} if i % 2 else None, collect=["f"] if i % 2 else (), jail=Jail(fresh=rng.random() < 0.2))
for i in range(3): threading.Thread(target=loop, args=(i,), daemon=True).start()
ready()
time.sleep(60)
""",
    "session": """
s = pyjail.Session()
ready()
while True:
    s.write("a", b"x" * 1000)
    s.run(["sh", "-c", "cat a > b; sleep 0.01 &"], TINY)
    s.read("b")
    with s.start(["cat"], TINY) as p: p.stdin.write(b"x")
""",
    "live": """
ready()
while True:
    p = pyjail.start(["sh", "-c", "sleep 100 & cat"], TINY)
    p.stdin.write(b"x")
    if rng.random() < 0.5: p.kill(), p.wait()
""",
    "pool": """
ready()
with pyjail.Pool(3) as pool:
    for r in pool.map([["sh", "-c", "sleep 0.02"]] * 10000): pass
""",
    "named pipes": """
ready()
while True:
    pyjail.interact(Party(["sh", "-c", "echo x > /pipes/to"], TINY, name="a"), Party(["cat"], TINY, name="b"),
                    edges=["a.to -> b.stdin"])
""",
}


@dataclass
class Found:
    """What was seen: embedders killed by what they did, and what was left."""

    killed: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)
    seconds: float = 0.0


def adopt_orphans() -> None:
    """Whatever loses its parent below us becomes our child, so that none is overlooked (PR_SET_CHILD_SUBREAPER)."""
    if ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def children() -> set[int]:
    """Ours that are not ended; the ended ones that nobody else waits for are reaped."""
    found = set()
    for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z":
                found.add(pid)
    return found


def _reap(known: set[int]) -> None:
    for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        if pid not in known:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _batch(kinds: list[str], rng: random.Random, found: Found) -> None:
    """Start these embedders together, kill each at a moment of its own, look a second after the last."""
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        os.chmod(temporary, 0o711)  # programs of other ids pass through
        environment = {**os.environ, "TMPDIR": temporary}
        started = [
            subprocess.Popen(
                [sys.executable, "-c", PRELUDE + HEAD.replace("SEED", str(rng.randrange(1 << 30))) + EMBEDDERS[kind]],
                stdout=subprocess.PIPE, env=environment,
            )
            for kind in kinds
        ]  # fmt: skip
        ends = []
        for p, kind in zip(started, kinds, strict=True):
            assert p.stdout is not None and p.stdout.readline() == b"go\n", kind
            ends.append(
                (time.monotonic() + (rng.uniform(0, 0.02) if rng.random() < 0.5 else rng.uniform(0, 0.6)) * SLOW, p)
            )
        for at, p in sorted(ends, key=lambda end: end[0]):
            time.sleep(max(0.0, at - time.monotonic()))
            p.kill()
        for p in started:
            p.wait()
            assert p.stdout is not None
            p.stdout.close()
        end = time.monotonic() + LATER_S * SLOW
        while time.monotonic() < end and (
            children() or any(cgroups_of(p.pid) for p in started) or os.listdir(temporary)
        ):
            time.sleep(0.02)
        found.killed.update(kinds)
        what = ", ".join(kinds)
        found.left += [f"process {Path(f'/proc/{pid}/cmdline').read_bytes()!r} ({what})" for pid in children()]
        for p, kind in zip(started, kinds, strict=True):
            found.left += [f"cgroup {below} ({kind})" for path in cgroups_of(p.pid) for below, _, _ in os.walk(path)]
        found.left += [f"file {name} ({what})" for name in os.listdir(temporary)]
        _reap(set())


def kill(count: int, seed: int = 7) -> Found:
    """Kill so many embedders, a few at a time."""
    adopt_orphans()
    rng, found, began = random.Random(seed), Found(), time.monotonic()
    before, segments, shared = mounts(), shm_segments(), set(os.listdir("/dev/shm"))
    kinds = [list(EMBEDDERS)[n % len(EMBEDDERS)] for n in range(count)]
    for n in range(0, count, AT_ONCE):
        _batch(kinds[n : n + AT_ONCE], rng, found)
    if mounts() > before:
        found.left.append(f"{mounts() - before} mounts")
    found.left += [f"SysV segment {number}" for number in shm_segments() - segments]
    found.left += [
        f"/dev/shm/{name}"
        for name in set(os.listdir("/dev/shm")) - shared
        if "pyjail" in name and "selftest" not in name
    ]
    found.seconds = time.monotonic() - began
    return found
