"""How far past its limit a program gets, on an idle machine and with twice as many busy processes as CPUs."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import time
from collections.abc import Iterator

from machine import BUILD, compile_c
from report import Goal, Section, table
from sampling import in_turns, samples

import pyjail

OVER_MS, LOAD = 5.0, 2
LIMIT = 0.02


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that never stop by themselves."""
    children = [subprocess.Popen([compile_c("work"), "spin", "1"]) for _ in range(count)]
    try:
        time.sleep(0.2)
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def measure(rounds: int, seconds: float) -> Section:
    section = Section("Past a limit of time")
    compile_c("work")
    jail = pyjail.Jail(mounts=(pyjail.Mount.bind(str(BUILD), "/work"),))
    late: dict[str, list[float]] = {"CPU": [], "wall": []}
    limits = {"CPU": pyjail.Limits(cpu_time=LIMIT, wall_time=10), "wall": pyjail.Limits(cpu_time=10, wall_time=LIMIT)}

    def over(kind: str) -> float:
        start = time.perf_counter()
        r = pyjail.run(["/work/work", "spin", "1"], limits[kind], jail=jail)
        took = time.perf_counter() - start
        used = r.usage.cpu_time if kind == "CPU" else r.usage.wall_time
        assert r.verdict.value == f"{kind.lower()}_time" and used is not None, r
        late[kind].append(took - (r.usage.wall_time or 0))
        return used - LIMIT

    rows = []
    cpus = len(os.sched_getaffinity(0))
    for load in (0, LOAD * cpus):
        for values in late.values():
            values.clear()
        with busy(load):
            for kind in limits:
                over(kind)
            found = samples(
                in_turns({k: functools.partial(over, k) for k in limits}, rounds, seconds * (0.3 if load == 0 else 0.7))
            )
        for kind, s in found.items():
            where = f"{load} busy processes on {cpus} CPUs" if load else "idle machine"
            rows.append(
                (
                    f"{kind} limit, {where}",
                    *(f"{v * 1e3:.2f}" for v in (s.median, s.p99, max(s.values))),
                    str(len(s.values)),
                )
            )
            section.goals.append(
                Goal(
                    f"past a {kind} limit, {where}",
                    f"p99 {s.p99 * 1e3:.2f} ms",
                    f"p99 <= {OVER_MS:.0f} ms",
                    s.p99 * 1e3 <= OVER_MS,
                )
            )
    section.say(
        f"A program that spins under a limit of {LIMIT * 1e3:.0f} ms: how much more it got, from its own CPU clock and from",
        "execve to its death.",
        "",
        *table(("ms over the limit", "median", "p99", "most", "runs"), rows),
    )
    return section
