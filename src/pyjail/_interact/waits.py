"""What the threads of a jail wait for, as /proc tells: whether they can go on by themselves.

A thread is blocked when it sits in a call that has no time-out. Two looks that are the same, down to the number of
times that each thread was switched, prove that none of them did anything in between. What cannot be read is
no proof.
"""

from __future__ import annotations

import os
import platform
from typing import NamedTuple

# call: (number on x86_64, on aarch64, which argument is its time-out, or None). What is not here may end by itself.
_CALLS: dict[str, tuple[int | None, int | None, int | None]] = {
    "read": (0, 63, None), "write": (1, 64, None), "readv": (19, 65, None), "writev": (20, 66, None),
    "open": (2, None, None), "openat": (257, 56, None), "openat2": (437, 437, None), "poll": (7, None, 2),
    "ppoll": (271, 73, 2), "select": (23, None, 4), "pselect6": (270, 72, 4), "epoll_wait": (232, None, 3),
    "epoll_pwait": (281, 22, 3), "epoll_pwait2": (441, 441, 3), "futex": (202, 98, 3), "wait4": (61, 260, None),
    "waitid": (247, 95, None), "pause": (34, None, None), "rt_sigsuspend": (130, 133, None),
    "rt_sigtimedwait": (128, 137, 2), "splice": (275, 76, None), "tee": (276, 77, None), "vmsplice": (278, 75, None),
    "sendfile": (40, 71, None), "flock": (73, 32, None),
}  # fmt: skip
_MILLISECONDS = frozenset(("poll", "epoll_wait", "epoll_pwait"))  # a number, and not a pointer: -1 is for ever
_WITH_FD = frozenset(("read", "write", "readv", "writev"))
_COLUMN = 1 if platform.machine() == "aarch64" else 0
# Where in the kernel a thread sleeps, before Linux 6.15 and since: those that are for ever.
_PLACES = {
    "pipe_read": "read", "anon_pipe_read": "read", "fifo_pipe_read": "read", "pipe_write": "write",
    "anon_pipe_write": "write", "fifo_pipe_write": "write", "wait_for_partner": "open", "do_wait": "wait4",
    "__x64_sys_pause": "pause", "__do_sys_pause": "pause", "sigsuspend": "rt_sigsuspend",
}  # fmt: skip
_NAMES = {row[_COLUMN]: (name, row[2]) for name, row in _CALLS.items() if row[_COLUMN] is not None}


class Thread(NamedTuple):
    """One thread that is blocked for good, unless somebody else wakes it."""

    pid: int
    tid: int
    call: str
    fd: int  # that it reads or writes, or -1
    switches: str  # how often it has been switched until now


def look(keeper: int) -> frozenset[Thread] | None:
    """All threads of the keeper's programs. None: one of them may go on by itself, or could not be read."""
    found: set[Thread] = set()
    try:
        todo = [pid for pid_1 in _children(keeper) for pid in _children(pid_1)]
        while todo:
            pid = todo.pop()
            for tid in map(int, os.listdir(f"/proc/{pid}/task")):
                if _is_zombie(pid, tid):
                    continue
                thread = _thread(pid, tid)
                if thread is None:
                    return None
                found.add(thread)
            todo += _children(pid)
    except (OSError, ValueError, IndexError):
        return None
    return frozenset(found) or None


def _read(path: str) -> str:
    with open(path, encoding="latin-1") as f:
        return f.read()


def _children(pid: int) -> list[int]:
    return [
        int(c) for tid in os.listdir(f"/proc/{pid}/task") for c in _read(f"/proc/{pid}/task/{tid}/children").split()
    ]


def _is_zombie(pid: int, tid: int) -> bool:
    return _read(f"/proc/{pid}/task/{tid}/stat").rpartition(")")[2].split()[0] in "ZX"


def _thread(pid: int, tid: int) -> Thread | None:
    try:
        call = _call(_read(f"/proc/{pid}/task/{tid}/syscall").split())
    except PermissionError:  # a program with a subordinate id of ours: only its owner may open that
        call = _PLACES.get(_read(f"/proc/{pid}/task/{tid}/wchan")), -1
    if call[0] is None:
        return None
    status = _read(f"/proc/{pid}/task/{tid}/status")
    switches = " ".join(line.split()[1] for line in status.splitlines() if "ctxt_switches" in line)
    return Thread(pid, tid, call[0], call[1], switches)


def _call(words: list[str]) -> tuple[str | None, int]:
    """Its name and the fd that it reads or writes. None: "running", "-1", or a call that may end by itself."""
    number, *values = words
    if number not in map(str, _NAMES):
        return None, -1
    name, timeout = _NAMES[int(number)]
    if timeout is not None:
        value = int(values[timeout], 16)
        if value & (1 << 31) == 0 if name in _MILLISECONDS else value != 0:
            return None, -1
    return name, int(values[0], 16) if name in _WITH_FD else -1


def file_of(thread: Thread) -> tuple[int, int] | None:
    """(device, inode) of what it reads or writes."""
    if thread.fd < 0:
        return None
    try:
        found = os.stat(f"/proc/{thread.pid}/fd/{thread.fd}")
    except OSError:
        return None
    return found.st_dev, found.st_ino
