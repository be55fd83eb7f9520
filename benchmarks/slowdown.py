"""How much slower a program is inside: loops of work.c, inside and outside in turns."""

from __future__ import annotations

import functools
import subprocess

from machine import BUILD, compile_c
from report import Goal, Section, table
from sampling import in_turns, samples

import pyjail

LOOPS = {
    "cpu": (15000, 1.01),
    "getpid": (200000, 1.05),
    "read": (125000, 1.05),
    "open": (12500, 1.05),
    "forkexec": (60, 1.10),
}
WHAT = {
    "cpu": "CPU-bound",
    "getpid": "getpid",
    "read": "read 1 byte",
    "open": "open and close",
    "forkexec": "fork and exec",
}


def measure(rounds: int, seconds: float, share: float) -> Section:
    """``share``: of the usual number of loops."""
    section = Section("A program inside and outside")
    compile_c("work")
    limits = pyjail.Limits(cpu_time=60, wall_time=120)
    jail = pyjail.Jail(mounts=(pyjail.Mount.bind(str(BUILD), "/bench"),))

    def outside(mode: str, count: str, *more: str) -> float:
        command = ["./work", mode, count, *more]
        out = subprocess.run(command, cwd=BUILD, capture_output=True, check=True, timeout=60).stdout
        return int(out) / 1e9 / int(count)

    def inside(mode: str, count: str) -> float:
        r = pyjail.run(["./work", mode, count], limits, jail=jail, cwd="/bench", check=True)
        return int(r.stdout) / 1e9 / int(count)

    rows = []
    for mode, (full, goal) in LOOPS.items():
        count = str(max(1, int(full * share)))
        found = samples(in_turns({
            "outside": functools.partial(outside, mode, count),
            "inside": functools.partial(inside, mode, count),
            "fences": functools.partial(outside, mode, count, "fences"),
        }, rounds, seconds / len(LOOPS)))  # fmt: skip
        out, into, least = found["outside"], found["inside"], found["fences"]
        ratio, floor = into.median / out.median, least.median / out.median
        rows.append((
            WHAT[mode], f"{out.median * 1e9:.0f}", f"{out.spread:.1%}", f"{into.median * 1e9:.0f}", f"{into.spread:.1%}",
            f"{ratio:.3f}", f"{least.median * 1e9:.0f}", f"{floor:.3f}",
        ))  # fmt: skip
        section.goals.append(
            Goal(f"slowdown inside, {WHAT[mode]}", f"{ratio:.3f} x", f"<= {goal} x", ratio <= goal,
                 f"a filter of one instruction and one Landlock rule, no jail: {floor:.3f} x")
        )  # fmt: skip
    section.say(
        f"One static C program ({rounds} times each, in turns), per loop. The last two columns: no jail, but a seccomp filter",
        "of one instruction that allows everything and a Landlock ruleset of one rule, the least that such fences cost.",
        "",
        *table(("", "outside ns", "spread", "inside ns", "spread", "ratio", "least fences ns", "ratio"), rows),
    )
    return section
