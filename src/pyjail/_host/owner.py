"""Who owns what lies on the host: names that carry pid, start time, pid namespace and boot id of a process.

So the next start can remove what a killed one left behind, and only that.
"""

from __future__ import annotations

import functools
import os

from pyjail._base.errors import KeeperError
from pyjail._host import machine

UNKNOWN_BOOT = "00000000"  # of a masked /proc


@functools.cache
def boot_id() -> str:
    """The beginning of the boot id of the kernel that runs now."""
    return machine.read("/proc/sys/kernel/random/boot_id").replace("-", "")[:8] or UNKNOWN_BOOT


@functools.cache
def _clock_offset() -> int:
    """Ticks by which our time namespace moves the start times that /proc shows (time_namespaces(7))."""
    for line in machine.read("/proc/self/timens_offsets").splitlines():
        if line.startswith("boottime"):
            return int(line.split()[1]) * os.sysconf("SC_CLK_TCK")
    return 0


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat: ticks since boot; with the pid it names a process for good. None: not to be seen."""
    text = machine.read(f"/proc/{pid}/stat")
    return int(text.rpartition(")")[2].split()[19]) - _clock_offset() if text else None


def pid_namespace() -> str:
    """The number of ours."""
    return os.readlink("/proc/self/ns/pid").removeprefix("pid:[").removesuffix("]")


@functools.cache
def owner_name(pid: int, kind: str = "") -> str:
    """The name of this process's directory in every hierarchy."""
    return f"pyjail-{kind}{pid}-{start_time(pid) or 0}-{pid_namespace()}-{boot_id()}"


def check_owner(path: str) -> None:
    """Raises KeeperError where this is another process's: a child that is forked within a destructor goes on with its
    parent's call, for Python swallows what is raised there."""
    if owner_name(os.getpid()) not in path.split("/"):
        raise KeeperError(f"{path} is of the process that this one was forked from, in the midst of a call")
