"""What the parts of a run need on this machine when they are done alone (floor.c)."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace

from machine import BUILD, MUCH, CpuClock, compile_c
from report import Goal, Section, table
from sampling import Samples

import pyjail
from pyjail._cgroups import tree
from pyjail._plan import prepare

TURNS = 5
OPERATIONS = {
    "wake": "a word to another process and back (2 wake-ups)",
    "armed": "a process that waits before execve of true: from the word to its end",
    "spawn": "posix_spawn of true",
    "static": "posix_spawn of a static program that does nothing",
    "pipes": "posix_spawn of true, with stdout and stderr read through pipes",
    "fork": "fork and exit of a small process",
    "forkexec": "fork and exec of true",
    "pid": "fork into a new pid namespace",
    "namespaces": "fork into new pid, mount and ipc namespaces",
    "proc": "the same, with a /proc of its own",
    "all": "fork into new pid, mount, ipc, uts, net and cgroup namespaces",
    "tmpfs": "a tmpfs, mounted and unmounted",
    "seccomp": "fork, and a seccomp filter of the size of ours",
    "leaf": "fork, and cgroup leaves made, entered and removed",
}


def measure(count: int, clock: CpuClock) -> tuple[Section, dict[str, tuple[float, float]]]:
    """Seconds of time and of CPU of each operation."""
    section = Section("The parts alone")
    program = compile_c("floor")
    template = prepare.compiled(pyjail.Jail(), pyjail.Limits(), (), os.getpid()).template
    filter_file = BUILD / "filter"
    filter_file.write_bytes(template.filter.program)
    tops = None
    if template.cgroups.used:
        tops = tree.KeeperCgroup()
        tops.make_home(template.cgroups)
        tops.make_rest(None)
    arguments = {"seccomp": [str(filter_file)], "leaf": list(map(str, tops.paths)) if tops else []}
    found: dict[str, tuple[float, float]] = {}
    failed = {} if tops else {"leaf": "no cgroups to make"}
    times: dict[str, list[float]] = {}
    used: dict[str, float] = {}
    took: dict[str, float] = {}
    idles: list[float] = []
    try:
        for name in OPERATIONS:
            times[name], used[name], took[name] = [], 0.0, 0.0
        for _ in range(TURNS):
            idles.append(clock.idle_rate(0.2))
            for name in [n for n in OPERATIONS if n not in failed]:
                before, started = clock.read(), time.monotonic()
                command = [program, name, str(count // TURNS), *arguments.get(name, ())]
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
                if done.returncode:
                    failed[name] = f"not possible here: {done.stderr.strip()[:80]}"
                    continue
                time.sleep(0.01)
                used[name] += clock.read() - before
                took[name] += time.monotonic() - started
                times[name] += [int(line) / 1e9 for line in done.stdout.split()]
    finally:
        if tops:
            tops.remove()
    rows = []
    idle = sorted(idles)[len(idles) // 2]
    for name, what in OPERATIONS.items():
        if name in failed:
            rows.append((what, failed[name], "", "", ""))
            continue
        s, cpu = Samples(name, times[name]), max(0.0, used[name] - idle * took[name]) / len(times[name])
        found[name] = s.median, cpu if idle <= MUCH else 0.0
        rows.append(
            (
                what,
                f"{s.median * 1e6:.0f}",
                f"{s.p99 * 1e6:.0f}",
                f"{s.spread:.0%}",
                f"{cpu * 1e6:.0f}" if idle <= MUCH else "?",
            )
        )
    section.say(
        f"A static C program, {count // TURNS * TURNS} times each in {TURNS} turns, children waited for. The filter has {len(template.filter.program) // 8}",
        f"instructions; there are {len(arguments['leaf'])} leaves for a run on this machine. CPU is that of the whole machine,",
        "what the kernel does after the end included.",
        "",
        *table(("", "median µs", "p99 µs", "spread", "CPU µs"), rows),
    )
    return section, found


def beside(goals: list[Goal], floor: dict[str, tuple[float, float]], imports: float) -> list[Goal]:
    """The goals, each with what its parts need. ``imports``: seconds of the import of what a run needs."""

    def parts(index: int) -> str:
        """Without and with a jail's parts; 0: time, 1: CPU."""
        if not {"pipes", "proc", "fork", "seccomp"} <= floor.keys():
            return ""
        fork = floor["fork"][index]
        more = {name: floor[name][index] - fork for name in ("proc", "seccomp", "leaf") if name in floor}
        total = floor["pipes"][index] + sum(more.values())
        names = {"proc": "namespaces and /proc", "seccomp": "filter", "leaf": "leaves"}
        text = ", ".join(f"{names[n]} {v * 1e3:.2f}" for n, v in more.items())
        return f"{total * 1e3:.2f} ms: true with pipes {floor['pipes'][index] * 1e3:.2f}, {text}"

    def of(goal: Goal) -> str:
        if goal.floor:
            return goal.floor
        if goal.what.startswith(("paced latency, warm", "its p99")) and "armed" in floor and "wake" in floor:
            ready = f"{(floor['armed'][0] + floor['wake'][0]) * 1e3:.2f} ms with all made ahead; "
            return ready + "made each time " + parts(0)
        if goal.what.startswith("latency with fresh"):
            return parts(0)
        if goal.what.startswith("first run"):
            return f"Python's imports {imports * 1e3:.1f} ms; a jail {parts(0)}"
        if goal.what.startswith(("CPU", "throughput")):
            return f"CPU {parts(1)}" if floor.get("pipes", (0.0, 0.0))[1] > 0 else ""
        return ""

    return [replace(g, floor=of(g)) for g in goals]
