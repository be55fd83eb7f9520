"""Much data through a program: a writer, a copier and a reader, with the copier plain or in a jail on the caller's own fds."""

from __future__ import annotations

import functools
import os
import subprocess
import time

from machine import BUILD, compile_c, rss
from report import Goal, Section, table
from sampling import in_turns, samples

import pyjail

GOAL, GROWTH = 0.8, 1 << 20


def measure(size: int, rounds: int, seconds: float) -> Section:
    section = Section("Much data")
    work = compile_c("work")
    jail = pyjail.Jail(mounts=(pyjail.Mount.bind(str(BUILD), "/bench"),))
    limits = pyjail.Limits(cpu_time=60, wall_time=120)
    grown = 0

    def through(jailed: bool) -> float:
        """Bytes per second."""
        nonlocal grown
        in_r, in_w = os.pipe()
        out_r, out_w = os.pipe()
        start = time.perf_counter()
        ends = [
            subprocess.Popen([work, "write", str(size)], stdout=in_w),
            subprocess.Popen([work, "drain", str(size)], stdin=out_r),
        ]
        try:
            os.close(in_w)
            os.close(out_r)
            if jailed:
                before = rss()
                r = pyjail.run(["/bench/work", "copy", str(size)], limits, jail=jail, stdin=in_r, stdout=out_w)
                assert r.ok, r
                grown = max(grown, rss() - before)
            else:
                subprocess.run([work, "copy", str(size)], stdin=in_r, stdout=out_w, check=True, timeout=120)
            os.close(in_r)
            os.close(out_w)
            for child in ends:
                if child.wait(60):
                    raise RuntimeError("not all bytes arrived")
            return size / (time.perf_counter() - start)
        finally:
            for child in ends:
                child.kill()
                child.wait()

    through(True)
    grown = 0
    calls = {"plain": functools.partial(through, False), "pyjail.run": functools.partial(through, True)}
    found = samples(in_turns(calls, rounds, seconds))
    plain, ours = found["plain"], found["pyjail.run"]
    ratio = ours.median / plain.median
    section.say(
        f"{size / 2**30:g} GiB from one process through a pipe to a copier and through another pipe to a reader, {rounds} times:",
        "",
        *table(
            ("copier", "GiB/s", "spread"),
            [(n, f"{s.median / 2**30:.2f}", f"{s.spread:.0%}") for n, s in found.items()],
        ),
        "",
        f"Python's resident memory grew by {grown / 1024:.0f} KiB during a run.",
    )
    section.goals += [
        Goal(
            f"{size / 2**30:g} GiB from stdin to stdout",
            f"{ratio:.2f} x",
            f">= {GOAL} x plain processes",
            ratio >= GOAL,
        ),
        Goal("Python's memory meanwhile", f"{grown / 1024:.0f} KiB more", "constant (within 1 MiB)", grown <= GROWTH),
    ]
    return section
