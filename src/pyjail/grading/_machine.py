"""Was it the machine? For how long, at least, a CPU was to be had while something ran, by the kernel's own counters."""

from __future__ import annotations

import contextlib
import os
import time


class Watch:
    """What the kernel had counted when this was made.

    >>> Watch().free() is None or Watch().free() >= 0
    True
    """

    def __init__(self) -> None:
        self._began, self._idle, self._stalled = time.monotonic(), _idle(), _stalled()

    def free(self) -> float | None:
        """s since then in which a program that was ready had a CPU at once, at least; None: this machine cannot tell.

        Nobody waited for a CPU (PSI), or one of them stood idle: all of them together, divided by their number. What
        ran no longer than that, and met a wall limit, waited for something else than the machine.
        """
        found = []
        idle, stalled = _idle(), _stalled()
        if idle is not None and self._idle is not None:
            found.append((idle - self._idle) / (os.cpu_count() or 1))
        if stalled is not None and self._stalled is not None:
            found.append(time.monotonic() - self._began - (stalled - self._stalled))
        return max(0.0, *found) if found else None


def _idle() -> float | None:
    """s for which CPUs stood idle since the machine started; where this process may not use all of them it tells
    nothing."""
    if len(os.sched_getaffinity(0)) < (os.cpu_count() or 1):
        return None
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/uptime", "rb") as f:
        return float(f.read().split()[1])
    return None


def _stalled() -> float | None:
    """s in which some task waited for a CPU; None without PSI."""
    with contextlib.suppress(OSError, ValueError), open("/proc/pressure/cpu", "rb") as f:
        return int(f.read().partition(b"\n")[0].rpartition(b"total=")[2]) / 1e6
    return None
