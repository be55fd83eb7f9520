"""``pyjail selftest``: rows in red and green, a table of limits."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Collection
from typing import IO, Any

import pyjail
from pyjail import Jail
from pyjail.cli.progress import bar, console_of, text

EXIT_ESCAPED = 1
CONTAINED, ESCAPED, NOT_APPLICABLE, ERROR = "contained", "escaped", "not applicable", "error"
STYLES = {CONTAINED: "green", ESCAPED: "bold red", NOT_APPLICABLE: "dim", ERROR: "bold yellow"}


def main(jail: Jail, as_json: bool, only: Collection[str] | None) -> int:
    """Run it and print it; 0 when nothing escaped and nothing failed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that nothing stays behind
    with bar(sys.stderr) as progress:
        report = pyjail.selftest(jail, only=only, progress=progress)
    if as_json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        show(report, sys.stdout)
    return 0 if report.ok else EXIT_ESCAPED


def show(report: Any, stream: IO[str]) -> None:
    """Every row, the limits, and the sum."""
    console = console_of(stream)
    console.print(f"{report.jail} on {report.host}\n")
    for row in report.rows:
        line = text(f"{row.status.value:<14}  ", STYLES[row.status])
        console.print(
            line.append(f"{row.name:<36}  {row.tries} ({row.detail})", STYLES[row.status] if _bad(row) else "")
        )
    if report.probes:
        console.print(f"\n{'limit':<30}  {'asked':>12}  {'measured':>12}  {'deviation':>12}")
    for probe in report.probes:
        line = text(f"{probe.status.value:<14}  ", STYLES[probe.status])
        numbers = f"{_number(probe, probe.asked)}  {_number(probe, probe.measured)}  {_deviation(probe)}"
        line = line.append(f"{probe.name:<14}  {numbers}  {probe.detail}", STYLES[probe.status] if _bad(probe) else "")
        console.print(line)
    counts = ", ".join(f"{n} {'errors' if s == ERROR else s}" for s, n in report.to_dict()["counts"].items())
    console.print(text(f"\n{counts} in {report.seconds:.1f} s", "green" if report.ok else "bold red"))


def _bad(row: Any) -> bool:
    return row.status in (ESCAPED, ERROR)


def _number(probe: Any, value: float | None) -> str:
    if value is None or probe.status == NOT_APPLICABLE:
        return f"{'-':>12}"
    if probe.unit in ("s", "cores"):
        return f"{value:>12.3f}"
    return f"{value:>12.0f}"


def _deviation(probe: Any) -> str:
    if probe.deviation is None:
        return f"{'-':>12}"
    if probe.unit == "s":
        return f"{probe.deviation * 1e3:>+9.1f} ms"
    return f"{probe.deviation:>+12.3f}" if probe.unit == "cores" else f"{probe.deviation:>+12.0f}"
