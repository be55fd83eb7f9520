"""Memory of a warm keeper; how a jail starts while a thousand others are alive."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from report import Goal, Section, ms, table
from sampling import Samples

KIB, ALIVE_RATIO = 300, 1.3
EDGE = 20  # jails at each end that are compared


def measure(warm: int, alive: int, seconds: float) -> Section:
    section = Section("Memory, and many jails at once")
    command = [sys.executable, str(Path(__file__).with_name("many.py")), str(warm), str(alive), str(seconds)]
    out = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 2 + 60, check=False)
    if out.returncode:
        raise RuntimeError(out.stderr.strip()[-2000:])
    found = json.loads(out.stdout)
    memory = found["memory"]
    if isinstance(memory, str):
        section.goals.append(Goal("memory of a warm idle keeper", memory, f"<= {KIB} KiB", None))
    else:
        ours = (memory["tree"] + memory["python"]) / 1024
        section.say(
            f"{memory['count']} warm keepers, {memory['processes']:.0f} processes each (guard, keeper, armed program):",
            "",
            *table(
                ("of each", "KiB"),
                (
                    ("its processes (Pss)", f"{memory['tree'] / 1024:.0f}"),
                    ("Python's share (Pss)", f"{memory['python'] / 1024:.0f}"),
                    (
                        "beside these, the kernel's own (slab, stacks, page tables, per-CPU)",
                        f"{memory['kernel'] / 1024:.0f}",
                    ),
                ),
            ),
            "",
        )
        section.goals.append(
            Goal("memory of our own for a warm idle keeper", f"{ours:.0f} KiB", f"<= {KIB} KiB", ours <= KIB)
        )
    starts, usual = found["starts"], found["warm"]
    first, last = Samples("first jails", starts[:EDGE]), Samples("last jails", starts[-EDGE:])
    bare = found["plain"]
    few, crowd = Samples("plain, alone", bare[: len(bare) // 2]), Samples("plain, among many", bare[len(bare) // 2 :])
    alone, among = (
        Samples("warm, alone", usual[: len(usual) // 2]),
        Samples("warm, among many", usual[len(usual) // 2 :]),
    )
    section.say(
        f"{len(starts)} jails alive at once, each from the request to the first byte of a shell in a new keeper:",
        "",
        *table(
            ("", "median ms", "spread"),
            [
                (what, ms(s.median), f"{s.spread:.0%}")
                for what, s in (
                    (f"the first {EDGE}", first),
                    (f"the last {EDGE}", last),
                    ("a warm run of true beside none", alone),
                    ("a warm run of true beside all of them", among),
                    ("subprocess.run of true beside none", few),
                    ("subprocess.run of true beside all of them", crowd),
                )
            ],
        ),
    )
    section.goals.append(
        Goal(
            f"start of jail {len(starts)} while all others live",
            f"{last.median / first.median:.2f} x the first; a warm run {among.median / alone.median:.2f} x",
            f"<= {ALIVE_RATIO} x",
            last.median <= ALIVE_RATIO * first.median,
            f"subprocess.run needs {crowd.median / few.median:.2f} x beside as many",
        )
    )
    return section
