"""The per-process limits that the kernel keeps by itself."""

from __future__ import annotations

import math
import resource

from pyjail._base.records import NamedTuple
from pyjail._spec.jail import Limits

INFINITY = 2**64 - 1
INHERITED = ("core", "file_size", "open_files", "stack")  # without a limit, read back all the same: see `rows`


class RlimitRow(NamedTuple):
    """One setrlimit(2) in the program's process. ``limit`` is the field of `Limits` behind it."""

    name: str
    resource: int
    soft: int
    hard: int
    limit: str
    why: str


def rows(limits: Limits, clock: bool) -> list[RlimitRow]:
    """In the order in which they are set. ``clock``: the leaf's CPU clock is there for the keeper to look at.

    What is not set here is inherited from the keeper, which has raised its own soft limits to the hard ones: whoever
    started the embedder does not decide what a program gets. A row of `INFINITY` is only read back.
    """
    found = [
        # 1, not 0: a piped core_pattern ignores 0 and runs its handler on the host; at exactly 1 the kernel aborts
        # the dump (core(5)), and a file that small is not written either.
        RlimitRow(
            "RLIMIT_CORE",
            resource.RLIMIT_CORE,
            *_both(None if limits.core is None else limits.core or 1),
            "core",
            "no core files or handlers",
        ),
        # An unlimited file is limited by its tmpfs.
        RlimitRow("RLIMIT_FSIZE", resource.RLIMIT_FSIZE, *_both(limits.file_size), "file_size", "SIGXFSZ past it"),
        RlimitRow("RLIMIT_NOFILE", resource.RLIMIT_NOFILE, *_both(limits.open_files), "open_files", "EMFILE past it"),
        RlimitRow("RLIMIT_STACK", resource.RLIMIT_STACK, *_both(limits.stack), "stack", "SIGSEGV past it"),
    ]
    found += [
        RlimitRow(
            "RLIMIT_RTPRIO", resource.RLIMIT_RTPRIO, 0, 0, "", "no real-time scheduling, whatever the caller may"
        ),
        RlimitRow("RLIMIT_NICE", resource.RLIMIT_NICE, 0, 0, "", "no higher priority either"),
    ]
    # Of these the kernel keeps one count for each user of the outermost namespace: what a jail holds, the caller's own
    # programs on the whole host cannot have. Enough for what programs use; no more for what they could hoard.
    found += [
        RlimitRow("RLIMIT_SIGPENDING", resource.RLIMIT_SIGPENDING, 1024, 1024, "", "queued signals and POSIX timers"),
        RlimitRow("RLIMIT_MEMLOCK", resource.RLIMIT_MEMLOCK, 65536, 65536, "", "mlock and SHM_LOCK"),
        RlimitRow("RLIMIT_MSGQUEUE", resource.RLIMIT_MSGQUEUE, 102400, 102400, "", "POSIX message queues: one"),
    ]
    if limits.address_space is not None:
        row = RlimitRow("RLIMIT_AS", resource.RLIMIT_AS, *_both(limits.address_space), "address_space", "asked for")
        found.append(row)
    # RLIMIT_CPU charges the whole of a tick to whom it finds running, and a neighbour that sleeps through the ticks can
    # have it find the victim: half as much again was seen. So it is for hosts without a clock, and far off there.
    if clock or limits.cpu_time is None:
        cpu = INFINITY, INFINITY
    else:
        soft = far_off(limits.cpu_time)
        cpu = soft, soft + 1
    found.append(
        RlimitRow("RLIMIT_CPU", resource.RLIMIT_CPU, *cpu, "cpu_time", "no clock here: each process by itself")
    )
    return [row for row in found if row.soft != INFINITY or row.limit in INHERITED]


def far_off(cpu_time: float) -> int:
    """RLIMIT_CPU that does not end a process before it has used this, whatever the ticks say."""
    return math.ceil(2 * cpu_time) + 2


def _both(value: int | str | None) -> tuple[int, int]:
    if value is None:
        return INFINITY, INFINITY
    assert isinstance(value, int)
    return value, value
