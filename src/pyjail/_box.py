"""A session's workspace from outside: every path is opened below /box by the keeper, as the jail's user."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Any

from pyjail import _files, _units
from pyjail._errors import KeeperError, SpecError
from pyjail._fds import Fd, memfd
from pyjail._keeper import Gone, Keeper
from pyjail._native import lib
from pyjail._snapshot import Snapshot
from pyjail._spec import File, text
from pyjail._wire import parse_reply

MOST_ENTRIES = 100_000
MOST_DEPTH = 256
FULL = "No space left in the session's /box: raise Session(disk=) or Session(inodes=)"
TRIES = 20  # against a program that makes and removes the same name
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def _ask(keeper: Keeper, op: int, path: str, flags: int = 0, mode: int = 0, fd: int = -1) -> Fd:
    try:
        return keeper.file(op, os.fsencode(path), flags, mode, fd)
    except Gone:
        raise KeeperError("the session's keeper died, and its /box with it: start a new session") from None


def _place(path: object) -> str:
    return _files.relative("path", os.fspath(path) if isinstance(path, os.PathLike) else path)


def write(keeper: Keeper, path: object, data: Any, mode: int) -> None:
    """See `Session.write`."""
    name = _place(path)
    (item,) = _files.check_inputs({name: File(data, mode) if isinstance(data, (bytes, str)) else data})
    _parents(keeper, name)
    with _files._source(item) as source:
        _put(keeper, name, item.mode, source.number)


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
    most = _units.size("limit", limit)
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


def walk(keeper: Keeper) -> Iterator[tuple[str, os.DirEntry[str], int]]:
    """(path, entry, fd of its directory, closed later) of all below /box; directories before what is in them."""
    entries = 0
    todo: list[tuple[str, int]] = [("", 0)]
    while todo:
        prefix, depth = todo.pop()
        try:
            directory = _ask(keeper, lib.OP_OPEN, prefix.rstrip("/") or ".", DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            continue  # a running program has removed it
        with directory, os.scandir(directory.number) as found:
            for entry in sorted(found, key=lambda e: e.name):
                entries += 1
                if entries > MOST_ENTRIES:
                    raise OSError(errno.EMFILE, f"more than {MOST_ENTRIES} entries in /box")
                yield prefix + entry.name, entry, directory.number
                if entry.is_dir(follow_symlinks=False):
                    if depth >= MOST_DEPTH:
                        raise OSError(errno.ENAMETOOLONG, f"deeper than {MOST_DEPTH} directories", prefix)
                    todo.append((f"{prefix}{entry.name}/", depth + 1))


def names(keeper: Keeper, pattern: str) -> list[str]:
    """See `Session.list`."""
    (glob,) = _files.check_patterns((pattern,))
    found = []
    places = {"": glob.start}
    for path, entry, _ in walk(keeper):
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
        below = [(p, e.is_dir(follow_symlinks=False)) for p, e, _ in walk(keeper) if p.startswith(name + "/")]
        for child, is_dir in sorted(below, reverse=True):
            _ask(keeper, lib.OP_REMOVE, child, 1 if is_dir else 0)
    _ask(keeper, lib.OP_REMOVE, name, 1)


def snapshot(keeper: Keeper) -> Snapshot:
    """See `Session.snapshot`."""
    files: dict[str, tuple[int, bytes]] = {}
    directories: dict[str, int] = {}
    links: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for path, entry, at in walk(keeper):
        st = entry.stat(follow_symlinks=False)
        mode = stat.S_IMODE(st.st_mode) & 0o777
        if stat.S_ISDIR(st.st_mode):
            directories[path] = mode
        elif stat.S_ISLNK(st.st_mode):
            links[path] = os.readlink(entry.name, dir_fd=at)
        elif stat.S_ISREG(st.st_mode):
            with _ask(keeper, lib.OP_OPEN, path, os.O_NOFOLLOW | os.O_NONBLOCK) as fd:
                files[path] = mode, _content(fd.number, path, None)
        else:
            skipped[path] = "not a file, directory or symlink"
    return Snapshot(files, directories, links, skipped)


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
        _ask(keeper, lib.OP_MKDIR, text("path", path), mode=mode)
    for path, (mode, data) in snapshot.files.items():
        _from_memory(keeper, path, data, mode, 0)
    for path, target in snapshot.links.items():
        _from_memory(keeper, path, os.fsencode(target), 0, 1)


def _from_memory(keeper: Keeper, path: str, data: bytes, mode: int, flags: int) -> None:
    with memfd("pyjail-file", data) as fd:
        _ask(keeper, lib.OP_PUT, path, flags, mode, fd.number)
