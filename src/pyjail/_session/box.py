"""The files of a session or a box from outside: every path is opened inside by the keeper, as the jail's user."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterator
from typing import Any

from pyjail._core.native import lib

from pyjail._base import units
from pyjail._base.errors import KeeperError, SpecError
from pyjail._base.fds import Fd
from pyjail._base.records import NamedTuple
from pyjail._keeper import files as keeper_files
from pyjail._keeper.shared import SharedKeeper as Keeper
from pyjail._keeper.talk import Gone
from pyjail._spec import inputs
from pyjail._spec.jail import File

MOST_ENTRIES = 100_000  # held at once
MOST_NAMES = 64 << 20  # characters of their paths
MOST_REMOVED = 10 * MOST_ENTRIES
LONGEST = 4000  # bytes of a path, as `inputs.relative` has it: what is deeper has no name for any call
UNREADABLE = "cannot be read"
# A right that is missing; a mount; something else by now, where a program runs meanwhile.
UNTAKEN = (errno.EACCES, errno.EPERM, errno.EXDEV, errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.ENXIO)
PAGE = os.sysconf("SC_PAGE_SIZE")
CHUNK = 1 << 20
TRIES = 20  # against a program that makes and removes the same name
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def ask(keeper: Keeper, op: int, path: str, flags: int = 0, mode: int = 0, fd: int = -1) -> Fd:
    """What `keeper_files.ask` answers. KeeperError: the keeper is dead."""
    try:
        return keeper_files.ask(keeper, op, os.fsencode(path), flags, mode, fd)
    except Gone:
        raise KeeperError(keeper.lost) from None


def place(path: object) -> str:
    """A path below a session's /box, checked."""
    return inputs.relative("path", os.fspath(path) if isinstance(path, os.PathLike) else path)


def write(keeper: Keeper, path: object, data: Any, mode: int) -> None:
    """See `Session.write`."""
    name = place(path)
    for item in inputs.check_inputs({name: File(data, mode) if isinstance(data, (bytes, str)) else data}):
        put(keeper, item.path, item)


def put(keeper: Keeper, name: str, item: inputs.Input) -> None:
    """One of ``files=``, under this name; directories on the way are made."""
    if item.kind == "directory":
        parents(keeper, f"{name}/")
        return
    with keeper_files.open_source(item) as source:
        put_below(keeper, name, item.mode, source.number, int(item.kind == "link"))


def parents(keeper: Keeper, name: str) -> None:
    """Make the directories on the way to it."""
    parts = name.split("/")
    for depth in range(1, len(parts)):
        with contextlib.suppress(FileExistsError):
            if parts[depth - 1]:
                ask(keeper, lib.OP_MKDIR, "/".join(parts[:depth]), mode=0o755)


def put_below(keeper: Keeper, name: str, mode: int, source: int, flags: int = 0) -> None:
    """`put_source`; directories on the way are made when they are not there."""
    try:
        put_source(keeper, name, mode, source, flags)
    except FileNotFoundError:
        parents(keeper, name)
        put_source(keeper, name, mode, source, flags)


def put_source(keeper: Keeper, name: str, mode: int, source: int, flags: int = 0) -> None:
    """A file with the content of this fd, over one that is there; ``flags`` 1: a link to where that says."""
    for attempt in range(TRIES):
        try:
            ask(keeper, lib.OP_PUT, name, flags, mode, source)
            return
        except FileExistsError:
            if attempt == TRIES - 1:
                raise
        except OSError as e:
            if e.errno != errno.ENOSPC:
                raise
            with contextlib.suppress(OSError):  # half of a file would be taken for all of it
                ask(keeper, lib.OP_REMOVE, name)
            raise OSError(errno.ENOSPC, keeper.full, name) from None
        try:
            ask(keeper, lib.OP_REMOVE, name)
        except FileNotFoundError:
            continue


def read(keeper: Keeper, path: object, limit: int | str | None) -> bytes:
    """See `Session.read`."""
    name = place(path)
    most = units.size("limit", limit)
    with ask(keeper, lib.OP_OPEN, name, os.O_NOFOLLOW | os.O_NONBLOCK) as fd:
        return content_of(fd.number, name, most)


def content_of(fd: int, name: str, most: int | None) -> bytes:
    """All of an open file; SpecError when it is longer than ``most`` bytes."""
    st = os.fstat(fd)
    if stat.S_ISDIR(st.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(st.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", name)
    parts = []
    total = 0
    while chunk := os.read(fd, 1 << 20):
        total += len(chunk)
        if most is not None and total > most:  # it may grow meanwhile
            raise SpecError("limit", most, f"{name!r} is longer: {max(total, st.st_size)} bytes")
        parts.append(chunk)
    return b"".join(parts)


def walk(
    keeper: Keeper, skipped: dict[str, str], whole: int = 0, top: int = -1
) -> Iterator[tuple[str, os.DirEntry[str], int]]:
    """(path, entry, fd of its directory, closed later) of all below /box, or below the open directory ``top``;
    directories before what is in them. Those that cannot be looked into are told in ``skipped``. ``whole``: see
    `snapshot`."""
    left, named = MOST_ENTRIES, 0
    todo = [""]
    while todo:
        prefix = todo.pop()
        if len(os.fsencode(prefix)) > LONGEST:
            skipped[prefix.rstrip("/")] = "too deep: what is in there has a longer path than there can be"
            continue
        try:
            directory = ask(keeper, lib.OP_OPEN, prefix.rstrip("/") or ".", DIRECTORY, whole, top)
        except (FileNotFoundError, NotADirectoryError):
            continue  # a running program has removed it
        except OSError as e:
            if e.errno not in UNTAKEN:
                raise
            skipped[prefix.rstrip("/") or "."] = f"{UNREADABLE}: {e.strerror}"
            continue
        with directory:
            entries = _entries(directory, left)
            left -= len(entries)
            named += len(prefix) * len(entries) + sum(len(entry.name) for entry in entries)
            if named > MOST_NAMES:
                raise OSError(errno.EFBIG, f"more than {MOST_NAMES >> 20} MiB of names in all")
            for entry in sorted(entries, key=lambda e: e.name):
                yield prefix + entry.name, entry, directory.number
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{prefix}{entry.name}/")


def _entries(directory: Fd, most: int) -> list[os.DirEntry[str]]:
    """All that is in it. OSError when there are more than ``most``: no more than that are ever held."""
    with os.scandir(directory.number) as found:
        entries = list(itertools.islice(found, most + 1))
    if len(entries) > most:
        raise OSError(errno.EFBIG, f"more than {MOST_ENTRIES} entries in all")
    return entries


def names(keeper: Keeper, pattern: str, top: int = -1) -> list[str]:
    """See `Session.list`; ``top`` as `walk` has it."""
    (glob,) = inputs.check_patterns((pattern,))
    found = []
    places = {"": glob.start}
    for path, entry, _ in walk(keeper, {}, 0, top):
        parent, _, name = path.rpartition("/")
        at = places.get(parent, frozenset())
        if glob.hit(at, name):
            found.append(path)
        if entry.is_dir(follow_symlinks=False):
            places[path] = glob.below(at, name)
    return sorted(found)


def remove(keeper: Keeper, name: str, recursive: bool) -> None:
    """See `Session.remove`."""
    try:
        ask(keeper, lib.OP_REMOVE, name)
        return
    except IsADirectoryError:
        pass
    if recursive:
        empty(keeper, Level(None, name))
    ask(keeper, lib.OP_REMOVE, name, 1)


class Level(NamedTuple):
    """A directory by its name in the one above it."""

    above: Level | None
    name: str

    def open(self, keeper: Keeper, whole: int = 0) -> Fd:
        """However deep it is: by as many names at a time as a path can hold. What is below a directory that is named
        by an absolute path is looked up in that, as it was opened."""
        names: list[str] = []
        level: Level | None = self
        while level is not None:
            names.append(level.name)
            level = level.above
        at = Fd()
        while names:
            path = names.pop()
            while names and path[0] != "/" and len(os.fsencode(path)) + len(os.fsencode(names[-1])) < LONGEST:
                path += "/" + names.pop()
            with at:
                at = ask(keeper, lib.OP_OPEN, path, DIRECTORY, whole, at.number)
        return at


def empty(keeper: Keeper, top: Level, whole: int = 0) -> None:
    """Remove all that is in a directory, but for what something is mounted on. A directory below is looked into when it
    could not be removed, and its own one again when it is empty."""
    stay: dict[tuple[int, str], Level] = {}  # by what they are in, which is not compared: it may be deep
    with top.open(keeper, whole) as directory:  # an entry is met twice at most; in a tmpfs a link, too, takes an inode
        left = 4 * os.fstatvfs(directory.number).f_files or MOST_REMOVED
    todo = [top]
    while todo:
        level = todo[-1]
        full = []
        with level.open(keeper, whole) as directory, os.scandir(directory.number) as found:
            entries = list(itertools.islice(found, MOST_ENTRIES))
            left -= len(entries)
            if left < 0:
                raise OSError(errno.ENOTEMPTY, "a running program fills it again", top.name)
            for entry in entries:
                is_dir = entry.is_dir(follow_symlinks=False)
                try:
                    ask(keeper, lib.OP_REMOVE, entry.name, 1 if is_dir else 0, whole, directory.number)
                except FileNotFoundError:
                    pass
                except OSError as e:
                    if e.errno == errno.EBUSY or (id(level), entry.name) in stay:
                        stay[id(level.above), level.name] = level
                    elif e.errno == errno.ENOTEMPTY:
                        full.append(Level(level, entry.name))
                    else:
                        raise
        todo += full
        if not full and len(entries) < MOST_ENTRIES:
            todo.pop()
