"""What is left on the host: read from outside the jail."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from pyjail import testing


def keepers_of(pid: int) -> list[int]:
    """Pids of processes below ``pid`` that are ours (guard, keeper, programs), by parent links. Not its janitor."""
    return testing.below(pid)


def janitors_of(pid: int) -> list[int]:
    """The process below ``pid`` that will remove its cgroup directories, while there are any."""
    found = []
    for child in testing.below(pid, janitor=True):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text() == "pyjail-janitor\n":
                found.append(child)
    return found


def programs(name: bytes) -> list[int]:
    """Pids of programs below us whose command line begins so."""
    found = []
    for pid in keepers_of(os.getpid()):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(name):
                found.append(pid)
    return found


def cgroups_of(pid: int) -> list[str]:
    """cgroup directories that name ``pid`` as their owner."""
    return testing.cgroups(pid)


def leaves_of(pid: int) -> list[str]:
    """Leaves of runs and keepers below our directories."""
    found = []
    for top in cgroups_of(pid):
        for root, dirs, _ in os.walk(top):
            found += [os.path.join(root, d) for d in dirs]
    return found


def alive(pid: int) -> bool:
    """Running or zombie."""
    return os.path.exists(f"/proc/{pid}")


def shm_segments() -> frozenset[str]:
    """Ids of the SysV segments of the host's own ipc namespace, but those of living processes that are not below us."""
    rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    ours = {os.getpid(), *keepers_of(os.getpid())}
    return frozenset(row[1] for row in rows if int(row[4]) in ours or not alive(int(row[4])))


def mounts() -> int:
    """Mounts of our own mount namespace."""
    return len(Path("/proc/self/mountinfo").read_text().splitlines())


def fds() -> int:
    """Our own open fds."""
    return len(os.listdir("/proc/self/fd"))


def rss() -> int:
    """Our own resident bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def left_over() -> tuple[int, ...]:
    """What must be the same before and after: fds, mounts, processes below us, cgroup leaves of ours.

    Looked at until it is the same twice: a warm keeper may just be putting away one jail and making the next.
    """
    end, last = time.monotonic() + 2, ()
    while True:
        now = fds(), mounts(), len(testing.below(janitor=True)), len(leaves_of(os.getpid()))
        if now == last or time.monotonic() > end:
            return now
        last = now
        time.sleep(0.02)


def keeper_below(guard: int) -> int:
    """The keeper's own pid: `Keeper.pid` is its guard's, its one child is the keeper."""
    return int(Path(f"/proc/{guard}/task/{guard}/children").read_text())


def kill_below(pid: int) -> None:
    """SIGKILL everything below a process of ours."""
    for child in testing.below(pid, janitor=True):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
