"""Was it the machine? For how long, at least, a CPU was to be had while something ran, by the kernel's own counters;
and what met its wall limit because there was none is run again, with more patience."""

from __future__ import annotations

import contextlib
import os
import time

from pyjail._result.result import Result
from pyjail._result.verdict import Verdict
from pyjail._spec.limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

PATIENCE = (1.0, 4.0)  # of each try: how many times longer than usual it may take on the clock
OWN = 0.8  # of a wall limit: who could have run for so much of it has met it by its own doing


def patiently(attempt: Callable[[float], T], why: Callable[[T, Watch], str]) -> tuple[T, str]:
    """What came of the first try that says something of the program, and "" with it; of the last one, and why it says
    nothing: the machine was busy every time.

    Args:
        attempt: called with how many times longer than usual it may take on the clock: 1.0, then 4.0.
        why: called with what came of it, and a `Watch` that began with it: why that says nothing of the program; "".

    >>> import pyjail
    >>> from pyjail import languages
    >>> def attempt(patience: float) -> pyjail.Result:
    ...     return pyjail.run(["sleep", "0.1"], pyjail.Limits(wall_time=10 * patience))
    >>> def why(result: pyjail.Result, watch: languages.Watch) -> str:
    ...     late = result.verdict is pyjail.Verdict.WALL_TIME
    ...     return languages.held_up("the program", result, watch.free()) if late else ""
    >>> result, busy = languages.patiently(attempt, why)
    >>> (result.verdict.value, busy)
    ('ok', '')
    """
    for patience in PATIENCE:
        watch = Watch()
        outcome = attempt(patience)
        reason = why(outcome, watch)
        if not reason:
            break
    return outcome, reason


def late(result: Result | None, watch: Watch) -> str:
    """Why a run of one program, which was watched, says nothing of it; "" when it does. None: there was no run."""
    if result is None or result.verdict is not Verdict.WALL_TIME:
        return ""
    return held_up("the program", result, watch.free())


def longer(limits: Limits, patience: float) -> Limits:
    """So many times the wall time."""
    if patience == 1.0 or limits.wall_time is None:
        return limits
    return Limits(**{**limits.to_dict(), "wall_time": patience * limits.wall_time})


def held_up(who: str, result: Result, free: float | None, enough: float | None = None) -> str:
    """Why a run that met its wall limit did so: the machine was busy; "": by its own doing.

    Args:
        who: what the reason calls it. result: of the run.
        free: s for which a CPU was to be had meanwhile, at least; None: the machine cannot tell.
        enough: s of CPU time that would have been all of it; default its limit of that.

    >>> import pyjail
    >>> late = pyjail.run(["sleep", "9"], pyjail.Limits(wall_time=0.2))
    >>> held_up("sleep", late, free=0.0)
    'the machine was busy: sleep had a CPU to run on for 0.0 s of 0.2 s at least'
    >>> held_up("sleep", late, free=0.2)
    ''
    """
    wall, share = result.limits.wall_time or 0.0, result.limits.cpus
    most = result.limits.cpu_time if enough is None else enough
    needed = float("inf") if most is None else most / (min(1.0, share) if isinstance(share, float) else 1.0)
    had = (0.0 if result.usage.quiet is False else wall) if free is None else free
    if had >= min(needed, OWN * wall):
        return ""
    return f"the machine was busy: {who} had a CPU to run on for {had:.1f} s of {wall:.1f} s at least"


class Watch:
    """What the kernel had counted of this machine's idle and waiting time when this was made.

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

    def __repr__(self) -> str:
        free = self.free()
        had = "unknown" if free is None else f"{free:.1f} s"
        return f"<Watch of {time.monotonic() - self._began:.1f} s, free {had}>"


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
