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
LIMIT, TRIES = 0.02, 5


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
    jail = pyjail.Jail(mounts=(pyjail.Mount.bind(str(BUILD), "/bench"),))
    limits = {"CPU": pyjail.Limits(cpu_time=LIMIT, wall_time=10), "wall": pyjail.Limits(cpu_time=10, wall_time=LIMIT)}

    def over(kind: str) -> float:
        for _ in range(TRIES):
            r = pyjail.run(["/bench/work", "spin", "1"], limits[kind], jail=jail)
            if r.usage.wall_time is not None:
                break  # else a busy machine did not let it get as far as execve in that time
        used = r.usage.cpu_time if kind == "CPU" else r.usage.wall_time
        if r.verdict.value != f"{kind.lower()}_time" or used is None:
            raise RuntimeError(f"a {kind} limit ended with {r.verdict}, {r.usage}")
        return used - LIMIT

    def sleep() -> float:
        """How late a plain timer is: nothing that enforces a limit of time can be earlier."""
        start = time.perf_counter()
        time.sleep(LIMIT)
        return time.perf_counter() - start - LIMIT

    rows = []
    cpus = len(os.sched_getaffinity(0))
    for load in (0, LOAD * cpus):
        with busy(load):
            for kind in limits:
                over(kind)
            calls = {k: functools.partial(over, k) for k in limits}
            share = seconds * (0.7 if load else 0.3)
            found = samples(in_turns({**calls, "timer": sleep}, rounds, share))
        where = f"{load} busy processes on {cpus} CPUs" if load else "nothing else busy"
        timer = f"a sleep of as long ends {found['timer'].p99 * 1e3:.2f} ms late at p99"
        for kind, s in found.items():
            what = "a sleep of as long" if kind == "timer" else f"{kind} limit"
            figures = (f"{v * 1e3:.2f}" for v in (s.median, s.p99, max(s.values)))
            rows.append((f"{what}, {where}", *figures, str(len(s.values))))
            if kind in limits:
                met = s.p99 * 1e3 <= OVER_MS
                measured, goal = f"p99 {s.p99 * 1e3:.2f} ms", f"p99 <= {OVER_MS:.0f} ms"
                section.goals.append(Goal(f"past a {kind} limit, {where}", measured, goal, met, timer))
    section.say(
        f"A program that spins under a limit of {LIMIT * 1e3:.0f} ms: how much more it got, from its own CPU clock and from",
        "execve to its death.",
        "",
        *table(("ms over the limit", "median", "p99", "most", "runs"), rows),
    )
    return section
