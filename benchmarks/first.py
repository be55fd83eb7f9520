"""The first run of a process: import, and what is found out and started once."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys

from machine import BUILD
from report import Goal, Section, ms, table
from sampling import Samples, in_turns

FIRST_MS, IMPORT_MS, IMPORT_RATIO = 10.0, 30.0, 3.5
SCRIPT = """
import json, sys, time
t0 = time.perf_counter()
import {module}
t1 = time.perf_counter()
{run}
t2 = time.perf_counter()
{run}
print(json.dumps([t1 - t0, t2 - t1, time.perf_counter() - t2]))
"""
LIST = """
import sys
before = set(sys.modules)
import pyjail
print(*[name for name in sys.modules if name not in before and name.split(".")[0] in sys.stdlib_module_names])
"""
OWN = "Python's own modules that pyjail imports"
CONTENDERS = {
    "pyjail": SCRIPT.format(module="pyjail", run="pyjail.run(['/bin/true'])"),
    "subprocess": SCRIPT.format(module="subprocess", run="subprocess.run(['/bin/true'], capture_output=True)"),
}


def measure(rounds: int, seconds: float) -> Section:
    section = Section("First run of a process")
    rows: dict[str, list[list[float]]] = {name: [] for name in (*CONTENDERS, OWN)}

    # With bytecode, as an installed package has, whatever this environment says.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(BUILD / "pycache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def start(name: str) -> float:
        command = [sys.executable, "-c", contenders[name]]
        out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
        rows[name].append(json.loads(out.stdout))
        return 0.0

    modules = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=True, timeout=60)
    contenders = {**CONTENDERS, OWN: SCRIPT.format(module=", ".join(modules.stdout.split()), run="pass")}
    for name in contenders:
        start(name)
        rows[name].clear()
    in_turns({name: functools.partial(start, name) for name in contenders}, rounds, seconds)
    found = {
        name: [
            Samples(f"{name}: {what}", [row[i] for row in values])
            for i, what in enumerate(("import", "first run", "second"))
        ]
        for name, values in rows.items()
    }
    section.say(
        f"{rounds} new interpreters each, in turns, with bytecode there; the interpreter's own start is not in it.",
        "",
        *table(
            ("", "import ms", "spread", "first run ms", "spread", "second run ms"),
            [
                (
                    n,
                    ms(i.median),
                    f"{i.spread:.0%}",
                    *((ms(f.median), f"{f.spread:.0%}", ms(s.median)) if n != OWN else ("", "", "")),
                )
                for n, (i, f, s) in found.items()
            ],
        ),
    )
    imported, first, _ = (s.median * 1e3 for s in found["pyjail"])
    own = found[OWN][0].median * 1e3
    section.goals += [
        Goal("first run after import", f"{first:.1f} ms", f"<= {FIRST_MS:.0f} ms", first <= FIRST_MS),
        Goal(
            "import pyjail",
            f"{imported:.1f} ms",
            f"<= {IMPORT_MS:.0f} ms",
            imported <= IMPORT_MS,
            f"{OWN}: {own:.1f} ms",
        ),
        Goal(
            "import pyjail, beside Python's own part of it",
            f"{imported / own:.2f} x",
            f"<= {IMPORT_RATIO} x",
            imported <= IMPORT_RATIO * own,
        ),
    ]
    section.samples += [*found["pyjail"], *found["subprocess"]]
    return section
