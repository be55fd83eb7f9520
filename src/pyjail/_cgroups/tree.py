"""Our own cgroup subtree: one directory per embedder, below it one per keeper, given to that keeper's id.

Nothing here runs per run: leaves are the keeper's (csrc/leaf.c).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
import threading
import time
import weakref

from pyjail._base import lazy
from pyjail._base.errors import HostError, KeeperError
from pyjail._base.fds import Fd, not_ours
from pyjail._host.machine import Hierarchy
from pyjail._host.owner import check_owner, owner_name
from pyjail._policy.cgroup import Cgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def remove_tree(path: str, patience: float = 0.0) -> bool:
    """rmdir a cgroup directory and what is below. True when it is gone. EBUSY is retried for ``patience`` s in all."""
    return _remove_until(path, time.monotonic() + patience)


def _remove_until(path: str, end: float) -> bool:
    below = []
    with contextlib.suppress(OSError), os.scandir(path) as found:  # rmdir says what is wrong
        below = [e.path for e in found if e.is_dir(follow_symlinks=False)]
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
    others = []
    with contextlib.suppress(OSError):
        others = [n for n in os.listdir(directory) if n.startswith("pyjail-") and n != owner_name(os.getpid())]
    if not others:  # nearly always: what tells the dead from the living is not loaded
        return []
    with lazy.lock:
        from pyjail._cgroups import stale

    return stale.clean(directory, others, remove_tree)


def _mkdir(path: str) -> None:
    check_owner(path)
    ours = path.endswith("/" + owner_name(os.getpid())) and os.access(os.path.dirname(path), os.W_OK)
    if ours:
        janitor().watch(path)
    try:
        _make_room(path)
        if os.stat(path).st_mode & 0o700 != 0o700:  # our umask, which all threads share; the keeper is another user
            os.chmod(path, 0o755)  # noqa: S103
    except OSError as e:
        if ours and not isinstance(e, FileExistsError):
            janitor().forgo([path])
        raise


def _make_room(path: str) -> None:
    """In a full cgroup (cgroup.max.descendants, 65535 of them) what dead owners left may be what fills it."""
    try:
        os.mkdir(path, 0o755)
    except OSError as e:
        if e.errno not in (errno.EAGAIN, errno.ENOSPC):
            raise
        if not clean_stale(path.rpartition(f"/{owner_name(os.getpid())}")[0]):
            raise
        os.mkdir(path, 0o755)


_HANDED = frozenset(("cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"))  # cgroup-v2.rst, Delegation
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_numbers = itertools.count(1)  # of keepers, across subtrees: they share the owner's directory


class Subtree:
    """This process's directories in the hierarchies that a plan uses."""

    def __init__(self, cgroups: Cgroups) -> None:
        self.cgroups = cgroups
        self.paths = tuple(f"{h.own}/{owner_name(os.getpid())}" for h in cgroups.used)
        for h, path in zip(cgroups.used, self.paths, strict=True):
            if path not in _listed or "cpuset" in h.controllers:  # else it is there, with what its leaves need
                self.make(h, path)
        self.files = self._list_files()
        self.clean = False

    def clean_stale(self) -> None:
        """`clean_stale` where these are, once."""
        if not self.clean:
            self.clean = True
            for h in self.cgroups.used:
                clean_stale(h.own)

    def make(self, h: Hierarchy, path: str) -> None:
        """One directory, of the controllers that the plan wants of this hierarchy."""
        wanted = frozenset(n for n, i in self.cgroups.where.items() if self.cgroups.used[i] is h and n != "v2")
        parent = os.path.dirname(path)
        try:
            if h.version == 2 and wanted:
                files().directory(parent).enable(wanted)
            with contextlib.suppress(FileExistsError):
                try:
                    _mkdir(path)
                except FileNotFoundError:  # somebody removed what it is to be in
                    os.makedirs(parent, exist_ok=True)
                    _mkdir(path)
            if "cpuset" in wanted and h.version == 1:
                files().fill_cpuset(parent, path)
        except OSError as e:
            not_ours(e)
            raise _refused(h, parent, e) from e

    def _list_files(self) -> tuple[frozenset[str], ...]:
        """The interface files of a leaf, as one that was made had them: what this kernel has, not what its version
        promises."""
        found = []
        for h, path in zip(self.cgroups.used, self.paths, strict=True):
            if path in _listed:
                found.append(_listed[path])
                continue
            probe = f"{path}/probe{threading.get_native_id()}"
            self.make(h, probe)
            names = os.listdir(probe)
            # Since Linux 6.12 a write to memory.peak resets it: its mode says so.
            found.append(
                frozenset(names + [n + " (reset)" for n in names if n == "memory.peak" and _can_write(probe, n)])
            )
            remove_tree(probe, 1.0)
        return tuple(found)


def _can_write(directory: str, name: str) -> bool:
    return bool(os.stat(f"{directory}/{name}").st_mode & 0o200)


def files() -> Any:
    """The typed interface files, loaded when a subtree is made: cgroupspy is not on the path of a run."""
    with lazy.lock:
        from pyjail._cgroups import files as cgroups_files

    return cgroups_files


def janitor() -> Any:
    """Who removes all this should we not come to it, loaded when there is something to remove."""
    with lazy.lock:
        from pyjail._cgroups import janitor as cgroups_janitor

    return cgroups_janitor


def _refused(h: Hierarchy, path: str, e: OSError) -> HostError:
    names = ",".join(sorted(h.controllers)) or "unified"
    hint = "run as root, or in a delegated cgroup: systemd-run --user --scope -p Delegate=yes PROGRAM"
    if h.version == 2 and e.errno == 16:
        hint = "the cgroup has processes of its own, so it cannot have children with controllers: " + hint
    return HostError("cgroup", f"{path} ({names}): {e.strerror}", hint)


_subtrees: dict[tuple[int, Cgroups], Subtree] = {}
_live: weakref.WeakSet[KeeperCgroup] = weakref.WeakSet()
_left: set[str] = set()  # directories of subtrees that were given up: to be removed when no keeper lives below
_listed: dict[str, frozenset[str]] = {}  # what `list_first` found
_lock = threading.Lock()
_shut = False  # the interpreter exits: what a daemon thread made now would stay


def subtree(cgroups: Cgroups) -> Subtree:
    """This process's `Subtree` for these hierarchies; made once, made anew after a fork."""
    with _lock:
        return _find(cgroups)


def _find(cgroups: Cgroups) -> Subtree:
    if _shut:
        raise KeeperError("the interpreter is shutting down: no new jail is started")
    key = (os.getpid(), cgroups)
    found = _subtrees.get(key)
    if found is None:
        found = _subtrees[key] = Subtree(cgroups)
    return found


class KeeperCgroup:
    """One keeper's directories, ``name`` in each of ours: ``fds``, in the order of the plan's hierarchies. It
    lives in "keeper" (v2). Empty until `make_home`: who has to remove them has it in hand before there is anything."""

    leaves = b""  # where below that they are made

    def __init__(self) -> None:
        self.name = ""
        self.paths: tuple[str, ...] = ()
        self.fds: list[Fd] = []
        self.tree: Subtree | None = None

    def make_home(self, cgroups: Cgroups) -> None:
        """The new directory that the keeper is to live in, when there is v2."""
        self.name = f"k{next(_numbers)}"
        with _lock:
            self.tree = _find(cgroups)
            self.paths = tuple(f"{path}/{self.name}" for path in self.tree.paths)
            _live.add(self)  # from here on nobody removes what it is to be made in
        for h, path in zip(cgroups.used, self.tree.paths, strict=True):
            janitor().watch(path)  # should it not have had the fds for that before
            try:
                fd = Fd(os.open, path, _DIRECTORY)
            except FileNotFoundError:  # somebody removed it
                self.tree.make(h, path)
                fd = Fd(os.open, path, _DIRECTORY)
            self.fds.append(fd)
        i = cgroups.into
        if i is None:
            return
        path = self.paths[i]
        self.tree.make(cgroups.used[i], path)
        try:
            _mkdir(f"{path}/keeper")
        except OSError as e:
            raise _refused(cgroups.used[i], path, e) from e
        wanted = frozenset(n for n, j in cgroups.where.items() if j == i and n != "v2")
        if wanted:
            files().directory(path).enable(wanted)

    def make_rest(self, owner: tuple[int, int] | None) -> None:
        """The other directories; all are handed to the keeper's outside (uid, gid), so that it can make leaves."""
        if self.tree is None:
            return
        cgroups = self.tree.cgroups
        for i, (h, path) in enumerate(zip(cgroups.used, self.paths, strict=True)):
            if i != cgroups.into:
                self.tree.make(h, path)
            self.hand(i, path, owner)

    def hand(self, i: int, path: str, owner: tuple[int, int] | None) -> None:
        """A directory of the plan's hierarchy ``i`` becomes this (uid, gid)'s, but for its limits."""
        if owner is not None and self.tree is not None:
            check_owner(path)
            os.chown(path, *owner)
            for name in _HANDED & self.tree.files[i]:
                os.chown(f"{path}/{name}", *owner)

    def clean_stale(self) -> None:
        """What dead owners left beside ours."""
        if self.tree is not None:
            self.tree.clean_stale()

    def close_fds(self) -> None:
        for fd in self.fds:
            fd.close()

    def remove(self) -> None:
        """When the keeper is gone."""
        self.close_fds()
        end = time.monotonic() + 1.0
        for path in self.paths:
            _remove_until(path, end)
        self.paths = ()
        _live.discard(self)


def forget() -> None:
    """After os.fork, in the child: the directories are the parent's, and a lock may have been held by a thread."""
    global _lock
    _lock = threading.Lock()
    owner_name.cache_clear()  # pids come again
    _subtrees.clear()
    _live.clear()
    _left.clear()
    _listed.clear()
    if "pyjail._cgroups.janitor" in sys.modules:
        janitor().forget()


def make_first(path: str) -> None:
    """This process's directory in one hierarchy, before there is a plan for it: to see whether that works. What is not
    used is to be unmade; `remove_all` removes the rest. Raises OSError."""
    with _lock:
        if _shut:
            raise KeeperError("the interpreter is shutting down: no new jail is started")
        new = path not in _left
        _left.add(path)
        try:
            _mkdir(path)
        except BaseException:
            if new:
                _left.discard(path)
            raise


def list_first(path: str) -> None:
    """Remember its files, when it is new, and has the controllers that its leaves will have: they have the same."""
    with contextlib.suppress(OSError):
        _listed[path] = frozenset(os.listdir(path))


def unlist(path: str) -> None:
    """Its leaves may have other files now."""
    _listed.pop(path, None)


def unmake(path: str) -> None:
    """If nothing is in it."""
    with _lock, contextlib.suppress(OSError):
        os.rmdir(path)
        _left.discard(path)
        janitor().forgo([path])


def look_again() -> None:
    """The next `subtree` is made anew: the directories are made again, their controllers enabled again."""
    with _lock:
        _listed.clear()
        _give_up()


def remove_all(*, for_good: bool = False) -> None:
    """But where another thread is just starting a keeper. ``for_good``: at exit, no others are made."""
    global _shut
    with _lock:  # a subtree in the making is removed, too
        _shut = _shut or for_good
        _give_up()
        used = set() if for_good else {os.path.dirname(path) for cgroup in _live for path in cgroup.paths}
        end = time.monotonic() + 0.5
        gone = [path for path in _left - used if _remove_until(path, end)]
        _left.difference_update(gone)
        if gone:
            janitor().forgo(gone)


def _give_up() -> None:
    _left.update(path for (pid, _), tree in _subtrees.items() if pid == os.getpid() for path in tree.paths)
    _subtrees.clear()
