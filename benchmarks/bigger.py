"""Whether a large embedder starts its jails as fast as a small one."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
from pathlib import Path

from machine import memory_available, rss
from report import Goal, Section, ms, table
from sampling import Samples, in_turns

GOAL = 1.05
RUNS = 10
SMALL, SIZES = 0, (256 << 20, 1 << 30, 4 << 30)


class Embedder:
    def __init__(self, size: int) -> None:
        script = Path(__file__).with_name("embedder.py")
        self.child = subprocess.Popen(
            [sys.executable, script, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.times: dict[str, list[float]] = {"ours": [], "base": []}

    def ask(self, name: str) -> float:
        assert self.child.stdin is not None and self.child.stdout is not None
        self.child.stdin.write(f"{name} {RUNS}\n")
        self.child.stdin.flush()
        found: list[float] = json.loads(self.child.stdout.readline())
        self.times[name] += found[1:]  # the first one after a while of other work is none of the warm ones
        return found[-1]

    def end(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
            self.child.communicate(timeout=30)
        self.child.kill()
        self.child.wait()


def measure(rounds: int, seconds: float, largest: int) -> tuple[Section, list[tuple[int, Samples, Samples]]]:
    """(resident bytes, ours, subprocess.run's) of each embedder."""
    section = Section("A large embedder")
    room = min(memory_available() - (1 << 30), 3 * largest)
    embedders = []
    try:
        for size in (SMALL, *(s for s in SIZES if s <= largest)):
            if size <= room:
                embedders.append(Embedder(size))
                room -= size
        calls = {}
        for e in embedders:
            for name in e.times:
                e.ask(name)
                e.times[name].clear()
                calls[f"{id(e)} {name}"] = functools.partial(e.ask, name)
        in_turns(calls, rounds, seconds)
        found = [
            (rss(e.child.pid), Samples("pyjail.run", e.times["ours"]), Samples("subprocess.run", e.times["base"]))
            for e in embedders
        ]
    finally:
        for e in embedders:
            e.end()
    _, ours, base = found[0]
    rows = [
        (f"{size / 2**20:.0f} MiB", ms(o.median), f"{o.median / ours.median:.3f}", f"{o.spread:.0%}", ms(b.median),
         f"{b.median / base.median:.3f}")
        for size, o, b in found
    ]  # fmt: skip
    section.say(
        f"One process of each size, {RUNS} runs at a time with 3 ms between them, in turns; ratios to the smallest.",
        "",
        *table(("resident", "pyjail.run ms", "ratio", "spread", "subprocess.run ms", "ratio"), rows),
        "",
        "![latency by size of the embedder](embedder.png)",
    )
    size, last, _ = found[-1]
    what = f"embedder of {size / 2**30:.1f} GiB against {found[0][0] / 2**20:.0f} MiB"
    measured = f"{last.median / ours.median:.3f} x"
    section.goals.append(
        Goal(what, measured, f"<= {GOAL} x", last.median <= GOAL * ours.median if len(found) > 1 else None)
    )
    return section, found
