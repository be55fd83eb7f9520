"""What dead owners left on the host, and how it is told from what live ones have."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable

from pyjail._host.owner import (
    UNKNOWN_BOOT,
    boot_id,
    owner_name,
    pid_namespace,
    start_time,
)

_NAME = r"pyjail-(?:leaf-|pipes-)?([0-9]+)-([0-9]+)-([0-9]+)-([0-9a-f]{8})(?:-try|-[0-9a-f]{16})?\Z"


def is_dead(name: str) -> bool:
    """Whether the owner is gone for certain. A /proc that hides processes or is masked says nothing of that."""
    match = re.match(_NAME, name)
    if match is None or match[3] != pid_namespace():
        return False  # a pid of another pid namespace says nothing here
    if UNKNOWN_BOOT not in (match[4], boot_id()) and match[4] != boot_id():
        return True
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    now, then = start_time(int(match[1])), int(match[2])
    return now is not None and then != 0 and abs(now - then) > 1  # a tick is rounding


def clean(directory: str, remove: Callable[[str, float], bool]) -> list[str]:
    """``remove`` what dead owners left in ``directory``; the names removed."""
    gone = []
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            if not name.startswith("pyjail-") or name == owner_name(os.getpid()) or not is_dead(name):
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
