"""A core of its own for each worker of a pool: what there is, and who in this process has it."""

from __future__ import annotations

import contextlib
import os
import threading

from pyjail._base.errors import HostError
from pyjail._base.units import cpu_list
from pyjail._policy.cores import choose, cores

_CPUS = "/sys/devices/system/cpu"
_lock = threading.Lock()
_taken: set[int] = set()


def _siblings(allowed: frozenset[int]) -> dict[int, frozenset[int]]:
    """The CPUs of each one's core, itself included. Where the kernel does not tell, nothing: a core by itself."""
    found = {}
    for cpu in allowed:
        with contextlib.suppress(OSError, ValueError), open(f"{_CPUS}/cpu{cpu}/topology/thread_siblings_list") as f:
            found[cpu] = cpu_list(f.read())
    return found


def take(size: int) -> tuple[int, ...]:
    """One CPU for each of ``size`` workers, on different cores that this process may use and no other pool has.

    HostError names what there is when there are fewer.
    """
    allowed = frozenset(os.sched_getaffinity(0))  # cpusets and taskset are in it
    siblings = _siblings(allowed)
    there = cores(allowed, siblings)
    with _lock:
        chosen = choose(size, there, siblings, _taken)
        if chosen is not None:
            _taken.update(chosen)
            return chosen
        free = len(there) - len({core for core in there if _taken & set(core)})
        others = f", {len(there) - free} of them taken by other pinned pools" if free < len(there) else ""
    cause = (
        f"{size} workers, but this process may use {len(there)} cores{others} (CPUs {sorted(allowed)} by "
        f"sched_getaffinity, siblings counted as one core)"
    )
    fix = "give this process more CPUs (taskset, cpuset.cpus, AllowedCPUs=), close another pinned pool, or pin=False"
    raise HostError("pin", cause, f"Pool(size={free}, pin=True), {fix}" if free else fix)


def give(cpus: tuple[int, ...]) -> None:
    """Back, when the pool is closed."""
    with _lock:
        _taken.difference_update(cpus)


def forget() -> None:
    """After os.fork, in the child: its copies of pools keep their cores; only the lock may have been held."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=forget)
