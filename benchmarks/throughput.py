"""Runs per second with several threads."""

from __future__ import annotations

import functools
import itertools
import threading
import time

from contenders import BASE, FRESH, NO_PEERS, OURS, Contender, floors, ready
from report import Goal, Section, table
from sampling import Samples, in_turns, samples

GOALS = {2: 0.75, 4: 0.80, 16: 1.00}
WORKERS = (1, 2, 4, 16)
PATIENCE = 60.0


class Crew:
    """Threads that wait, then share so many runs."""

    def __init__(self, contender: Contender, size: int) -> None:
        self.contender, self.size = contender, size
        self.start, self.finish = threading.Barrier(size + 1), threading.Barrier(size + 1)
        self.left: itertools.count[int]
        self.count = 0
        self.failed: list[BaseException] = []
        self.threads = [threading.Thread(target=self._work, args=(i,), daemon=True) for i in range(size)]
        for t in self.threads:
            t.start()

    def _work(self, number: int) -> None:
        while True:
            self.start.wait()
            if not self.count:
                return
            try:
                while next(self.left) < self.count:
                    self.contender.call(number)
            except BaseException as e:
                self.failed.append(e)
            self.finish.wait(PATIENCE)

    def turn(self, count: int) -> float:
        """Runs per second."""
        self.left, self.count = itertools.count(), count
        self.start.wait(PATIENCE)
        began = time.perf_counter()
        self.finish.wait(PATIENCE)
        took = time.perf_counter() - began
        if self.failed:
            raise self.failed[0]
        time.sleep(0.02)  # for the next one: what is left to be done is done
        return count / took

    def end(self) -> None:
        self.count = 0
        self.start.wait(PATIENCE)
        for t in self.threads:
            t.join(PATIENCE)


def _rates(found: list[Contender], size: int, rounds: int, seconds: float) -> dict[str, Samples]:
    crews: dict[str, Crew] = {}
    with ready(found, size):
        try:
            for c in found:
                crews[c.name] = Crew(c, size)
                crews[c.name].turn(2 * size if c.name == OURS else size)  # warm
            counts = {name: 96 if name in NO_PEERS else 32 for name in crews}
            calls = {name: functools.partial(crew.turn, counts[name]) for name, crew in crews.items()}
            return samples(in_turns(calls, rounds, seconds))
        finally:
            for crew in crews.values():
                crew.end()


def measure(everyone: list[Contender], rounds: int, seconds: float) -> tuple[Section, dict[int, dict[str, Samples]]]:
    found = [c for c in everyone if c.name != FRESH]
    section = Section("Paced: throughput with threads, in bursts")
    rates = {size: _rates(found, size, rounds, seconds / len(WORKERS)) for size in WORKERS}
    rows = []
    for c in found:
        row = [c.name]
        for size in WORKERS:
            s, base = rates[size][c.name], rates[size][BASE]
            row += [f"{s.median:.0f}", f"{s.median / base.median:.2f}", f"{s.spread:.0%}"]
        rows.append(row)
    head = [part for size in WORKERS for part in (f"{size} thread{'s' * (size > 1)}: runs/s", "ratio", "spread")]
    section.say(*table(["", *head], rows), "", "![throughput](throughput.png)")
    for size, least in GOALS.items():
        ours, plain = rates[size][OURS].median, rates[size][BASE].median
        section.goals.append(
            Goal(
                f"paced throughput with {size} threads",
                f"{ours / plain:.2f} x",
                f">= {least:.2f} x subprocess.run",
                ours >= least * plain,
                floors(rates[size]),
            )
        )
    peers = [c.name for c in found if c.name not in NO_PEERS]
    worst, nearest, at = min(
        ((rates[size][OURS].median / rates[size][p].median, p, size) for p in peers for size in GOALS),
        default=(0.0, "", 0),
    )
    measured = f"ours is {worst:.1f} x {nearest}'s, the nearest, with {at} threads" if nearest else "none here"
    section.goals.append(
        Goal("throughput against the peers", measured, "ahead of every one", worst > 1 if nearest else None)
    )
    for size, by_name in rates.items():
        section.samples += [
            Samples(f"runs per second of {name}, {size} threads", s.values, "integer") for name, s in by_name.items()
        ]
    return section, rates
