"""What dead owners left on the host, and how it is told from what live ones have."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from pyjail._host.owner import (
    UNKNOWN_BOOT,
    boot_id,
    pid_namespace,
    start_time,
)

_HEX = frozenset("0123456789abcdef")


def _owner(name: str) -> tuple[str, str, str, str] | None:
    """What `owner_name` made it of: pid, start time, pid namespace, boot id. None: it has not made it. (No regular
    expression: to compile one takes 0.6 ms, of the first run of each process.)"""
    first, *parts = name.split("-")
    if parts and parts[0] in ("leaf", "pipes"):
        del parts[0]
    if first != "pyjail" or len(parts) not in (4, 5) or not all(p.isascii() and p.isdecimal() for p in parts[:3]):
        return None
    pid, start, namespace, boot, *more = parts
    if len(boot) != 8 or not _HEX.issuperset(boot):
        return None
    if more and more[0] != "try" and not (len(more[0]) == 16 and _HEX.issuperset(more[0])):
        return None
    return pid, start, namespace, boot


def is_dead(name: str) -> bool:
    """Whether the owner is gone for certain. A /proc that hides processes or is masked says nothing of that."""
    owner = _owner(name)
    if owner is None or owner[2] != pid_namespace():
        return False  # a pid of another pid namespace says nothing here
    pid, start, _, boot = owner
    if UNKNOWN_BOOT not in (boot, boot_id()) and boot != boot_id():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    now, then = start_time(int(pid)), int(start)
    return now is not None and then != 0 and abs(now - then) > 1  # a tick is rounding


def clean(directory: str, names: list[str], remove: Callable[[str, float], bool]) -> list[str]:
    """``remove`` those of these ``names`` in ``directory`` whose owners are dead; the names removed."""
    gone = []
    with contextlib.suppress(OSError):
        for name in names:
            if not is_dead(name):
                continue
            path = f"{directory}/{name}"
            if "leaf" not in name:  # in an owner's leaf may live children of its own, which are no jail
                kill_tree(path)
            if remove(path, 0.2):
                gone.append(name)
    return gone


def kill_tree(path: str) -> None:
    """SIGKILL all processes of a v2 cgroup. cgroup.kill is in Linux 5.14 and later; nothing forks in a frozen one."""
    with contextlib.suppress(OSError):
        with open(f"{path}/cgroup.kill", "w") as f:
            f.write("1")
        return
    with contextlib.suppress(OSError):
        with open(f"{path}/cgroup.freeze", "w") as f:
            f.write("1")
        for directory, _, _ in os.walk(path):
            with open(f"{directory}/cgroup.procs") as f:
                for pid in f.read().split():
                    with contextlib.suppress(OSError):
                        os.kill(int(pid), signal.SIGKILL)
