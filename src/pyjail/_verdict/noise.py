"""Was a run disturbed? Its own throttling, stalls and involuntary switches -> reasons, in words."""

from __future__ import annotations

from collections.abc import Mapping

SHARE, LEAST_S = 0.01, 0.0005  # of the wall time; below half a millisecond nothing counts
SWITCHES, SWITCHES_PER_S = 10, 100  # of CPU time: a busy neighbour takes the CPU 200-400 times

_STALLS = {"cpu": "for a CPU", "memory": "for memory", "io": "for a disk"}


def reasons(
    wall: float | None,
    cpu: float,
    throttled: float | None,
    pressure: Mapping[str, int] | None,
    switches: tuple[int, int] | None,
) -> tuple[bool | None, tuple[str, ...]]:
    """(quiet, why not); quiet is None where the kernel tells neither stalls nor switches. s; pressure in µs."""
    if wall is None or (pressure is None and switches is None):
        return None, ()
    bound = max(LEAST_S, SHARE * wall)
    found = []
    if throttled is not None and throttled >= bound:
        found.append(f"throttled: {throttled * 1e3:.1f} ms without CPU, for its quota (Limits.cpus) was used up")
    for resource, stalled in (pressure or {}).items():
        if stalled / 1e6 >= bound:
            found.append(f"{resource} pressure: {stalled / 1e3:.1f} ms waiting {_STALLS.get(resource, '')}".rstrip())
    if switches is not None and switches[1] > SWITCHES + SWITCHES_PER_S * cpu:
        found.append(f"involuntary switches: {switches[1]} times its CPU was taken away")
    return not found, tuple(found)
