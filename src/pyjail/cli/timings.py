"""``pyjail run --timings``: where the time of a run went, on stderr."""

from __future__ import annotations

from typing import Any

import pyjail
from pyjail import Timings
from pyjail.cli.ending import say


def profile(given: dict[str, Any]) -> Timings:
    """Run it once, and `true` in the same jail for the phases of later runs."""
    return pyjail.timings(**given)


def show(found: Timings) -> None:
    """The table."""
    usage = found.result.usage
    for name in ("setup_time", "wall_time", "cpu_time", "teardown_time"):
        value = getattr(usage, name)
        say(f"{name:14} {'?' if value is None else f'{value * 1e3:9.3f} ms'}")
    for line in found.lines():
        say(line)
