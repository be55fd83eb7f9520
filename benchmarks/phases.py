"""A run, phase by phase: what `pyjail run --timings -- true` prints, medians of several new processes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

from machine import BUILD
from report import Section, table

from pyjail._run.timings import AFTER, PHASES

SCRIPT = """
import json, time
import pyjail
started = time.monotonic_ns()
from pyjail._spec import commands as _command; from pyjail._run import timings as _timings
p = _timings.profile(lambda: _command.make(["true"]), started)
print(json.dumps([p.first, p.cold, p.armed]))
"""
COLUMNS = ("first of the process", "new keeper", "warm keeper")


def measure(processes: int) -> tuple[Section, list[dict[str, float]]]:
    """ns by phase, of each column."""
    section = Section("A run, phase by phase")
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(BUILD / "pycache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    rows = []
    for _ in range(processes + 1):  # the first one may have to compile
        command = [sys.executable, "-c", SCRIPT]
        out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
        rows.append(json.loads(out.stdout))
    found = [
        {name: statistics.median(row[i][name] for row in rows[1:]) for name in (*PHASES, AFTER) if name in rows[0][i]}
        for i in range(len(COLUMNS))
    ]
    section.say("Medians, µs; docs/timings.md explains them and has what the parts need alone.", "")
    return section, found


def least(floor: dict[str, tuple[float, float]]) -> dict[str, float]:
    """What the parts of some phases need alone, in seconds."""
    t = {name: seconds for name, (seconds, _) in floor.items()}
    out = {}
    if {"wake", "armed", "fork", "all", "proc", "seccomp", "tmpfs"} <= t.keys():
        out = {"send": t["wake"] / 2, "wake": t["wake"] / 2, "program": t["armed"] - t["wake"] / 2}
        out["namespaces"] = t["all"] - t["fork"]
        out["setup"] = t["proc"] + t["seccomp"] + t.get("leaf", t["fork"]) - t["fork"] + 3 * t["tmpfs"]
    return out


def lines(found: list[dict[str, float]], floor: dict[str, tuple[float, float]]) -> list[str]:
    parts = least(floor)

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value / 1000:.0f}"

    rows = [
        (f"`{name}`", *(cell(column.get(name)) for column in found), cell(parts[name] * 1e9 if name in parts else None))
        for name in PHASES
    ]
    totals = [sum(v for name, v in column.items() if name != AFTER) for column in found]
    rows.append(("total", *map(cell, totals), ""))
    rows.append((f"`{AFTER}`", *(cell(column.get(AFTER)) for column in found), ""))
    return table(("µs", *COLUMNS, "parts alone"), rows)
