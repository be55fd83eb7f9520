"""What is added up over many results, of each without all that its usage takes to be made."""

from __future__ import annotations

from pyjail._result.result import Result

SUMS = "sums"


def sums(result: Result) -> tuple[float, int | None]:
    """(s of CPU time, bytes of the memory's peak) of it, without all else that its usage takes to be made."""
    known = result.__dict__
    if "usage" not in known and "_make" in known:
        cpu, peak = known["_make"](SUMS)
        return cpu, peak
    return result.usage.cpu_time or 0.0, result.usage.memory_peak
