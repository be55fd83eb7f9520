"""The HTTP service, by `benchmarks.serve` in a process of its own: what it prints is what is told here."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import ROOT
from report import Goal, Section

_PATIENCE = 600.0  # seconds beside what its turns take


def measure(seconds: float, rounds: int, runs: int) -> Section:
    section = Section("The HTTP service, client and service on the same CPUs")
    with tempfile.TemporaryDirectory() as place:
        result = Path(place, "found.json")
        sizes = ["--seconds", str(seconds), "--rounds", str(rounds), "--runs", str(runs)]
        command = [sys.executable, "-m", "benchmarks.serve", *sizes, "--json", str(result)]
        patience = _PATIENCE + 40 * seconds * rounds + runs / 100
        out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience, check=False)
        if out.returncode:
            raise RuntimeError(out.stderr.strip()[-2000:])
        found = json.loads(result.read_text())
    for row in (row for rows in found.values() for row in rows):
        if row["goal"]:
            section.goals.append(Goal(row["what"], row["measured"], row["goal"], row["met"]))
        else:
            section.say(f"- {row['what']}: {row['measured']}.")
    return section
