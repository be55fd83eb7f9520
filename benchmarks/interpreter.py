"""What an interpreter costs: its start against `python3 -c pass` in the same kind of jail, and a cell; all in turns.

`python benchmarks/interpreter.py [ROUNDS]` prints a table and whether the goals hold: a start at most 1.5 times a run of
``pass``, a cell at most 3 ms, a thousand one after the other without a pause.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import pyjail
from pyjail import Interpreter, Limits

START_GOAL, CELL_GOAL = 1.5, 3.0  # times, ms
SUSTAINED = 1000
LIMITS = Limits(cpu_time=None, wall_time=None, memory="512M")
PASS = [sys.executable, "-c", "pass"]
FRESH = pyjail.Jail(fresh=True)
RUN, BOXED, START = "pass: pyjail.run", "pass: Box.run", "start, in a box"


def took(call: Callable[[], object]) -> float:
    """ms."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e3


def main(rounds: int) -> bool:
    """Whether the goals hold."""
    times: dict[str, list[float]] = defaultdict(list)
    with pyjail.Box(None, LIMITS) as box, Interpreter(box=box) as python:
        for _ in range(rounds):
            times[RUN].append(took(lambda: pyjail.run(PASS, LIMITS)))
            times[BOXED].append(took(lambda: box.run(PASS)))
            python.restart()
            times[START].append(took(python.start))
            python.restart()
            times["start and first cell, in a box"].append(took(lambda: python.run("1")))
            times["pass, in a new jail: Jail(fresh=True)"].append(took(lambda: pyjail.run(PASS, LIMITS, jail=FRESH)))
            fresh = Interpreter(limits=LIMITS)
            times["start and first cell, with a new box"].append(took(partial(fresh.run, "1")))
            fresh.close()
            times["cell: 1 + 1"] += [took(lambda: python.run("1 + 1")) for _ in range(10)]
        begun = time.perf_counter()
        for _ in range(SUSTAINED):
            python.run("n = 1")
        each = (time.perf_counter() - begun) * 1e3 / SUSTAINED
    print("| what | median, ms | of pyjail.run |\n|---|---|---|")
    base = statistics.median(times[RUN])
    for name, found in times.items():
        print(f"| {name} | {statistics.median(found):.2f} | {statistics.median(found) / base:.2f} |")
    print(f"| cell, {SUSTAINED} without a pause | {each:.2f} | |")
    ratio = statistics.median(times[START]) / statistics.median(times[BOXED])
    print(
        f"start / pass, both in a box: {ratio:.2f} (goal: {START_GOAL}); a cell: {each:.2f} ms (goal: {CELL_GOAL:g} ms)"
    )
    return ratio <= START_GOAL and each <= CELL_GOAL


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 40) else 1)
