"""Our own cgroup subtree: one directory per embedder, below it one per keeper, given to that keeper's id.

The names carry pid, start time, pid namespace and boot id of the owner, so that the next start can remove what a
killed one left behind, and only that. Nothing here runs per run: leaves are the keeper's (csrc/keeper.c).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any

from pyjail import _lazy
from pyjail._errors import HostError, KeeperError
from pyjail._host import Hierarchy
from pyjail.policy.cgroup import Cgroups

_NAME = re.compile(r"pyjail-(?:leaf-)?([0-9]+)-([0-9]+)-([0-9]+)-([0-9a-f]{8})(?:-try)?\Z")


_UNKNOWN_BOOT = "00000000"  # of a masked /proc


@functools.cache
def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as f:
            return f.read().replace("-", "")[:8]
    except OSError:
        return _UNKNOWN_BOOT


@functools.cache
def _clock_offset() -> int:
    """Ticks by which our time namespace moves the start times that /proc shows (time_namespaces(7))."""
    try:
        with open("/proc/self/timens_offsets") as f:
            seconds = next(int(line.split()[1]) for line in f if line.startswith("boottime"))
    except (OSError, StopIteration):
        return 0
    return seconds * os.sysconf("SC_CLK_TCK")


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat: ticks since boot; with the pid it names a process for good. None: not to be seen."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return int(f.read().rpartition(")")[2].split()[19]) - _clock_offset()
    except OSError:
        return None


def _pid_namespace() -> str:
    return re.sub(r"[^0-9]", "", os.readlink("/proc/self/ns/pid"))


def owner_name(pid: int, kind: str = "") -> str:
    """The name of this process's directory in every hierarchy."""
    return f"pyjail-{kind}{pid}-{_start_time(pid) or 0}-{_pid_namespace()}-{_boot_id()}"


def _dead(name: str) -> bool:
    """Whether the owner is gone for certain. A /proc that hides processes or is masked says nothing of that."""
    match = _NAME.match(name)
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


def remove_tree(path: str, patience: float = 0.0) -> bool:
    """rmdir a cgroup directory and what is below. True when it is gone. EBUSY is retried for ``patience`` s in all."""
    return _remove_until(path, time.monotonic() + patience)


def _remove_until(path: str, end: float) -> bool:
    try:
        with os.scandir(path) as found:
            below = [e.path for e in found if e.is_dir(follow_symlinks=False)]
    except OSError:
        return not os.path.exists(path)
    if not all(_remove_until(child, end) for child in below):
        return False
    while True:
        try:
            os.rmdir(path)
            return True
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.002)


def clean_stale(directory: str) -> list[str]:
    """Remove what dead owners left in ``directory``; the names removed."""
    gone = []
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            if not _dead(name):
                continue
            path = f"{directory}/{name}"
            if "leaf" not in name:  # in an owner's leaf may live children of its own, which are no jail
                kill_tree(path)
            if remove_tree(path, 0.2):
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


@dataclass
class KeeperCgroup:
    """One keeper's directories: ``fds`` in the order of the plan's hierarchies, ``home`` where it lives (v2)."""

    paths: tuple[str, ...]
    fds: list[int]
    home: int

    def give(self, uid: int, gid: int) -> None:
        """Hand the directories to the keeper's outside id, so that it can make leaves."""
        for path in self.paths:
            os.chown(path, uid, gid)
            for name in ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"):
                with contextlib.suppress(FileNotFoundError):
                    os.chown(f"{path}/{name}", uid, gid)

    def close_fds(self) -> None:
        self.fds.append(self.home)
        self.home = -1
        while self.fds:  # each is forgotten before it is closed: when this is interrupted, none is closed twice
            if (fd := self.fds.pop()) >= 0:
                os.close(fd)

    def remove(self) -> None:
        """When the keeper is gone."""
        self.close_fds()
        end = time.monotonic() + 1.0
        for path in self.paths:
            _remove_until(path, end)


_numbers = itertools.count(1)  # of keepers, across subtrees: they share the owner's directory


class Subtree:
    """This process's directories in the hierarchies that a plan uses."""

    def __init__(self, cgroups: Cgroups) -> None:
        self.cgroups = cgroups
        self.paths = tuple(f"{h.own}/{owner_name(os.getpid())}" for h in cgroups.used)
        for h, path in zip(cgroups.used, self.paths, strict=True):
            clean_stale(h.own)
            self._make(h, path, top=True)
        self.files = self._list_files()

    def _make(self, h: Hierarchy, path: str, top: bool = False) -> None:
        wanted = frozenset(n for n, i in self.cgroups.where.items() if self.cgroups.used[i] is h and n != "v2")
        parent = os.path.dirname(path)
        try:
            if h.version == 2 and wanted:
                files().directory(parent).enable(wanted)
            os.makedirs(path, mode=0o755, exist_ok=True)
            if "cpuset" in wanted and h.version == 1:
                files().fill_cpuset(parent, path)
        except OSError as e:
            raise _refused(h, parent, e) from e

    def _list_files(self) -> tuple[frozenset[str], ...]:
        """The interface files of a leaf, by making one: what this kernel has, not what its version promises."""
        found = []
        for h, path in zip(self.cgroups.used, self.paths, strict=True):
            probe = f"{path}/probe{threading.get_native_id()}"
            self._make(h, probe)
            names = os.listdir(probe)
            # Since Linux 6.12 a write to memory.peak resets it: its mode says so.
            found.append(
                frozenset(names + [n + " (reset)" for n in names if n == "memory.peak" and _can_write(probe, n)])
            )
            remove_tree(probe, 1.0)
        return tuple(found)

    def keeper(self) -> KeeperCgroup:
        """New directories for one keeper."""
        name = f"k{next(_numbers)}"
        paths = tuple(f"{path}/{name}" for path in self.paths)
        made = KeeperCgroup(paths, [], -1)
        try:
            for i, (h, path) in enumerate(zip(self.cgroups.used, paths, strict=True)):
                self._make(h, path)
                made.fds.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
                if i == self.cgroups.into:
                    os.mkdir(f"{path}/keeper")
                    wanted = frozenset(n for n, j in self.cgroups.where.items() if j == i and n != "v2")
                    if wanted:
                        files().directory(path).enable(wanted)
                    made.home = os.open(f"{path}/keeper", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except BaseException:
            made.remove()
            raise
        return made

    def remove(self) -> None:
        end = time.monotonic() + 0.5
        for path in self.paths:
            _remove_until(path, end)


def _can_write(directory: str, name: str) -> bool:
    return bool(os.stat(f"{directory}/{name}").st_mode & 0o200)


def files() -> Any:
    """The typed interface files, loaded when a subtree is made: cgroupspy is not on the path of a run."""
    with _lazy.lock:
        from pyjail import _cgroup_files

    return _cgroup_files


def _refused(h: Hierarchy, path: str, e: OSError) -> HostError:
    names = ",".join(sorted(h.controllers)) or "unified"
    hint = "run as root, or in a delegated cgroup: systemd-run --user --scope -p Delegate=yes PROGRAM"
    if h.version == 2 and e.errno == 16:
        hint = "the cgroup has processes of its own, so it cannot have children with controllers: " + hint
    return HostError("cgroup", f"{path} ({names}): {e.strerror}", hint)


_subtrees: dict[tuple[int, Cgroups], Subtree] = {}
_lock = threading.Lock()
_shut = False  # the interpreter exits: what a daemon thread made now would stay


def subtree(cgroups: Cgroups) -> Subtree:
    """This process's `Subtree` for these hierarchies; made once, made anew after a fork."""
    key = (os.getpid(), cgroups)
    found = _subtrees.get(key)
    if found is None:
        with _lock:
            if _shut:
                raise KeeperError("the interpreter is shutting down: no new jail is started")
            found = _subtrees.get(key)
            if found is None:
                found = _subtrees[key] = Subtree(cgroups)
    return found


def forget() -> None:
    """After os.fork, in the child: the directories are the parent's, and a lock may have been held by a thread."""
    global _lock
    _lock = threading.Lock()
    _subtrees.clear()


def look_again() -> None:
    """The next `subtree` is made anew: the directories are made again, their controllers enabled again."""
    with _lock:
        _subtrees.clear()


def remove_all(*, for_good: bool = False) -> None:
    """When all keepers are gone. ``for_good``: at exit, no others are made."""
    global _shut
    with _lock:  # one in the making is removed, too
        _shut = _shut or for_good
        for (pid, _), tree in list(_subtrees.items()):
            if pid == os.getpid():
                tree.remove()
        _subtrees.clear()
