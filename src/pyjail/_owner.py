"""Who owns what lies on the host: names that carry pid, start time, pid namespace and boot id of a process.

So the next start can remove what a killed one left behind, and only that.
"""

from __future__ import annotations

import functools
import os
import re

from pyjail import _host

_NAME = r"pyjail-(?:leaf-|pipes-)?([0-9]+)-([0-9]+)-([0-9]+)-([0-9a-f]{8})(?:-try|-[0-9a-f]{16})?\Z"


_UNKNOWN_BOOT = "00000000"  # of a masked /proc


@functools.cache
def _boot_id() -> str:
    return _host.read("/proc/sys/kernel/random/boot_id").replace("-", "")[:8] or _UNKNOWN_BOOT


@functools.cache
def _clock_offset() -> int:
    """Ticks by which our time namespace moves the start times that /proc shows (time_namespaces(7))."""
    for line in _host.read("/proc/self/timens_offsets").splitlines():
        if line.startswith("boottime"):
            return int(line.split()[1]) * os.sysconf("SC_CLK_TCK")
    return 0


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat: ticks since boot; with the pid it names a process for good. None: not to be seen."""
    text = _host.read(f"/proc/{pid}/stat")
    return int(text.rpartition(")")[2].split()[19]) - _clock_offset() if text else None


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid").removeprefix("pid:[").removesuffix("]")


@functools.cache
def owner_name(pid: int, kind: str = "") -> str:
    """The name of this process's directory in every hierarchy."""
    return f"pyjail-{kind}{pid}-{_start_time(pid) or 0}-{_pid_namespace()}-{_boot_id()}"


def is_dead(name: str) -> bool:
    """Whether the owner is gone for certain. A /proc that hides processes or is masked says nothing of that."""
    match = re.match(_NAME, name)
    if match is None or match[3] != _pid_namespace():
        return False  # a pid of another pid namespace says nothing here
    if _UNKNOWN_BOOT not in (match[4], _boot_id()) and match[4] != _boot_id():
        return True
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    now, then = _start_time(int(match[1])), int(match[2])
    return None not in (now, then or None) and abs(now - then) > 1  # type: ignore[operator]  # a tick is rounding
