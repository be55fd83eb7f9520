"""A session's workspace from outside: every path is opened below /box by the keeper, as the jail's user."""

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
from pyjail._base.fds import Fd, memfd
from pyjail._base.records import NamedTuple
from pyjail._keeper import files as keeper_files
from pyjail._keeper.keeper import Keeper
from pyjail._keeper.talk import Gone
from pyjail._plan.wire import parse_reply
from pyjail._session.snapshot import Content, Snapshot
from pyjail._spec import inputs
from pyjail._spec.jail import File, text

MOST_ENTRIES = 100_000  # held at once
MOST_REMOVED = 10 * MOST_ENTRIES
LONGEST = 4000  # bytes of a path, as `inputs.relative` has it: what is deeper has no name for any call
UNREADABLE = "cannot be read"
PAGE = os.sysconf("SC_PAGE_SIZE")
CHUNK = 1 << 20
FULL = "No space left in the session's /box: raise Session(disk=) or Session(inodes=)"
TRIES = 20  # against a program that makes and removes the same name
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def _ask(keeper: Keeper, op: int, path: str, flags: int = 0, mode: int = 0, fd: int = -1) -> Fd:
    try:
        return keeper_files.ask(keeper, op, os.fsencode(path), flags, mode, fd)
    except Gone:
        raise KeeperError("the session's keeper died, and its /box with it: start a new session") from None


def _place(path: object) -> str:
    return inputs.relative("path", os.fspath(path) if isinstance(path, os.PathLike) else path)


def write(keeper: Keeper, path: object, data: Any, mode: int) -> None:
    """See `Session.write`."""
    name = _place(path)
    for item in inputs.check_inputs({name: File(data, mode) if isinstance(data, (bytes, str)) else data}):
        _parents(keeper, f"{item.path}/" if item.kind == "directory" else item.path)
        if item.kind != "directory":
            with keeper_files.open_source(item) as source:
                _put(keeper, item.path, item.mode, source.number, int(item.kind == "link"))


def _parents(keeper: Keeper, name: str) -> None:
    parts = name.split("/")
    for depth in range(1, len(parts)):
        with contextlib.suppress(FileExistsError):
            _ask(keeper, lib.OP_MKDIR, "/".join(parts[:depth]), mode=0o755)


def _put(keeper: Keeper, name: str, mode: int, source: int, flags: int = 0) -> None:
    for attempt in range(TRIES):
        try:
            _ask(keeper, lib.OP_PUT, name, flags, mode, source)
            return
        except FileExistsError:
            if attempt == TRIES - 1:
                raise
        except OSError as e:
            if e.errno != errno.ENOSPC:
                raise
            with contextlib.suppress(OSError):  # half of a file would be taken for all of it
                _ask(keeper, lib.OP_REMOVE, name)
            raise OSError(errno.ENOSPC, FULL, name) from None
        try:
            _ask(keeper, lib.OP_REMOVE, name)
        except FileNotFoundError:
            continue


def read(keeper: Keeper, path: object, limit: int | str | None) -> bytes:
    """See `Session.read`."""
    name = _place(path)
    most = units.size("limit", limit)
    with _ask(keeper, lib.OP_OPEN, name, os.O_NOFOLLOW | os.O_NONBLOCK) as fd:
        return _content(fd.number, name, most)


def _content(fd: int, name: str, most: int | None) -> bytes:
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


def walk(keeper: Keeper, skipped: dict[str, str], whole: int = 0) -> Iterator[tuple[str, os.DirEntry[str], int]]:
    """(path, entry, fd of its directory, closed later) of all below /box; directories before what is in them. Those
    that cannot be looked into are told in ``skipped``. ``whole``: see `snapshot`."""
    left = MOST_ENTRIES
    todo = [""]
    while todo:
        prefix = todo.pop()
        if len(os.fsencode(prefix)) > LONGEST:
            skipped[prefix.rstrip("/")] = "too deep: what is in there has a longer path than there can be"
            continue
        try:
            directory = _ask(keeper, lib.OP_OPEN, prefix.rstrip("/") or ".", DIRECTORY, whole)
        except (FileNotFoundError, NotADirectoryError):
            continue  # a running program has removed it
        except PermissionError as e:
            skipped[prefix.rstrip("/") or "."] = f"{UNREADABLE}: {e.strerror}"
            continue
        with directory:
            entries = _entries(directory, left)
            left -= len(entries)
            for entry in sorted(entries, key=lambda e: e.name):
                yield prefix + entry.name, entry, directory.number
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{prefix}{entry.name}/")


def _entries(directory: Fd, most: int) -> list[os.DirEntry[str]]:
    """All that is in it. OSError when there are more than ``most``: no more than that are ever held."""
    with os.scandir(directory.number) as found:
        entries = list(itertools.islice(found, most + 1))
    if len(entries) > most:
        raise OSError(errno.EFBIG, f"more than {MOST_ENTRIES} entries in /box")
    return entries


def names(keeper: Keeper, pattern: str) -> list[str]:
    """See `Session.list`."""
    (glob,) = inputs.check_patterns((pattern,))
    found = []
    places = {"": glob.start}
    for path, entry, _ in walk(keeper, {}):
        parent, _, name = path.rpartition("/")
        at = places.get(parent, frozenset())
        if glob.hit(at, name):
            found.append(path)
        if entry.is_dir(follow_symlinks=False):
            places[path] = glob.below(at, name)
    return sorted(found)


def remove(keeper: Keeper, path: object, recursive: bool) -> None:
    """See `Session.remove`."""
    name = _place(path)
    try:
        _ask(keeper, lib.OP_REMOVE, name)
        return
    except IsADirectoryError:
        pass
    if recursive:
        _empty(keeper, Level(None, name))
    _ask(keeper, lib.OP_REMOVE, name, 1)


class Level(NamedTuple):
    """A directory by its name in the one above it."""

    above: Level | None
    name: str

    def open(self, keeper: Keeper) -> Fd:
        """However deep it is: by as many names at a time as a path can hold."""
        names: list[str] = []
        level: Level | None = self
        while level is not None:
            names.append(level.name)
            level = level.above
        at = Fd()
        while names:
            path = names.pop()
            while names and len(os.fsencode(path)) + len(os.fsencode(names[-1])) < LONGEST:
                path += "/" + names.pop()
            with at:
                at = _ask(keeper, lib.OP_OPEN, path, DIRECTORY, fd=at.number)
        return at


def _empty(keeper: Keeper, top: Level) -> None:
    """Remove all that is in a directory. A directory below is looked into when it could not be removed, and its own one
    again when it is empty."""
    with top.open(keeper) as directory:  # each entry is met twice at most; in a tmpfs a link, too, takes an inode
        left = 4 * os.fstatvfs(directory.number).f_files or MOST_REMOVED
    todo = [top]
    while todo:
        level = todo[-1]
        full = []
        with level.open(keeper) as directory, os.scandir(directory.number) as found:
            entries = list(itertools.islice(found, MOST_ENTRIES))
            left -= len(entries)
            if left < 0:
                raise OSError(errno.ENOTEMPTY, "a running program fills it again", top.name)
            for entry in entries:
                is_dir = entry.is_dir(follow_symlinks=False)
                try:
                    _ask(keeper, lib.OP_REMOVE, entry.name, 1 if is_dir else 0, fd=directory.number)
                except FileNotFoundError:
                    pass
                except OSError as e:
                    if e.errno != errno.ENOTEMPTY:
                        raise
                    full.append(Level(level, entry.name))
        todo += full
        if not full and len(entries) < MOST_ENTRIES:
            todo.pop()


def snapshot(keeper: Keeper, disk: int | None) -> Snapshot:
    """See `Session.snapshot`. All there is, whatever the program may read or write of it (PJ_WHOLE)."""
    files: dict[str, tuple[int, Content]] = {}
    directories: dict[str, int] = {}
    links: dict[str, str] = {}
    skipped: dict[str, str] = {}
    contents = Contents(disk)
    for path, entry, at in walk(keeper, skipped, lib.PJ_WHOLE):
        if entry.is_symlink():
            try:
                links[path] = os.readlink(entry.name, dir_fd=at)
            except PermissionError as e:  # in a directory that is closed to us, too, who are not root
                skipped[path] = f"{UNREADABLE}: {e.strerror}"
            continue
        is_file = entry.is_file(follow_symlinks=False)
        if not is_file and not entry.is_dir(follow_symlinks=False):
            skipped[path] = "not a file, directory or symlink"
            continue
        flags = os.O_NOFOLLOW | os.O_NONBLOCK if is_file else DIRECTORY
        with _ask(keeper, lib.OP_OPEN, entry.name, flags, lib.PJ_WHOLE, at) as fd:
            mode = os.fstat(fd.number).st_mode & 0o777
            if is_file:
                files[path] = mode, contents.read(fd.number, path)
            else:
                directories[path] = mode
    return Snapshot(files, directories, links, skipped)  # type: ignore[arg-type]


class Contents:
    """What the files of a workspace hold: each file once, whatever names it has, and no more than its disk does."""

    def __init__(self, disk: int | None) -> None:
        self.left = None if disk is None else -(-disk // PAGE) * PAGE  # a tmpfs rounds up
        self.known: dict[int, Content] = {}

    def read(self, fd: int, path: str) -> Content:
        """The content of an open file. OSError when all together are more than the disk: written meanwhile."""
        st = os.fstat(fd)
        found = self.known.get(st.st_ino)
        if found is None:
            found = Content(st.st_size, tuple(self._pieces(fd, st.st_size, path)))
            if st.st_nlink > 1:
                self.known[st.st_ino] = found
        return found

    def _pieces(self, fd: int, size: int, path: str) -> Iterator[tuple[int, bytes]]:
        at = 0
        while at < size:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as e:
                if e.errno != errno.ENXIO:
                    raise
                return  # a hole to its end
            end = min(size, os.lseek(fd, at, os.SEEK_HOLE))
            parts = []
            while at < end and (data := os.pread(fd, min(CHUNK, end - at), at)):
                parts.append(data)
                at += len(data)
                self._count(len(data), path)
            if not parts:
                return  # cut meanwhile
            whole = b"".join(parts)
            yield at - len(whole), whole

    def _count(self, size: int, path: str) -> None:
        if self.left is not None:
            self.left -= size
            if self.left < 0:
                raise OSError(errno.EFBIG, "the files are more than Session(disk=) allows: written meanwhile?", path)


def clear(keeper: Keeper) -> None:
    """An empty workspace, whatever was in it."""
    try:
        _, failure = parse_reply(keeper.ask(lib.OP_RESET)[0])
    except Gone:
        raise KeeperError("the session's keeper died, and its /box with it: start a new session") from None
    if failure is not None:
        raise OSError(failure.errno, os.strerror(failure.errno), "/box")


def restore(keeper: Keeper, snapshot: Snapshot) -> None:
    """See `Session.restore`."""
    clear(keeper)
    for path, mode in sorted(snapshot.directories.items()):
        _ask(keeper, lib.OP_MKDIR, text("path", path), mode=lib.PJ_WHOLE | mode)
    for path, (mode, content) in snapshot._stored.items():
        with sparse(content) as fd:
            _put(keeper, path, lib.PJ_WHOLE | mode, fd.number)
    for path, target in snapshot.links.items():
        with memfd("pyjail-file", os.fsencode(target)) as fd:
            _put(keeper, path, lib.PJ_WHOLE, fd.number, 1)


def put(keeper: Keeper, path: str, mode: int, content: Content) -> None:
    """A file with this content, over one that is there; directories on the way are made."""
    name = _place(path)
    _parents(keeper, name)
    with contextlib.suppress(FileNotFoundError):
        _ask(keeper, lib.OP_REMOVE, name)
    with sparse(content) as fd:
        _put(keeper, name, mode, fd.number)


def sparse(content: Content) -> Fd:
    """A memfd with this content, and with its holes."""
    fd = memfd("pyjail-file")
    os.ftruncate(fd.number, content.size)
    for at, data in content.pieces:
        view = memoryview(data)
        while view:
            written = os.pwrite(fd.number, view, at)
            at, view = at + written, view[written:]
    return fd
