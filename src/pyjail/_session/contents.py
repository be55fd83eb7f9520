"""All that is in a session or a box, taken and put back; and single contents, with their holes."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from pyjail._core.native import lib

from pyjail._base.errors import KeeperError
from pyjail._base.fds import Fd, memfd
from pyjail._keeper.shared import SharedKeeper as Keeper
from pyjail._keeper.talk import Gone
from pyjail._plan.wire import parse_reply
from pyjail._session.box import (
    CHUNK,
    DIRECTORY,
    PAGE,
    UNREADABLE,
    UNTAKEN,
    ask,
    parents,
    place,
    put_source,
    walk,
)
from pyjail._session.snapshot import Content, Snapshot
from pyjail._spec.jail import text


def snapshot(keeper: Keeper, disk: int | None) -> Snapshot:
    """See `Session.snapshot`."""
    taken = Taken(disk)
    taken.add(keeper)
    return taken.snapshot()


class Taken:
    """What a snapshot is made of. With ``whole`` all there is, whatever the program may read or write of it."""

    def __init__(self, disk: int | None, whole: int = lib.PJ_WHOLE) -> None:
        self.files: dict[str, tuple[int, Content]] = {}
        self.directories: dict[str, int] = {}
        self.links: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.contents, self.whole = Contents(disk), whole

    def add(self, keeper: Keeper, top: int = -1, prefix: str = "") -> None:
        """All below an open directory, under names that begin so."""
        skipped: dict[str, str] = {}
        for path, entry, at in walk(keeper, skipped, self.whole, top):
            try:
                self._add(keeper, prefix + path, entry, at)
            except FileNotFoundError:
                continue  # a running program has removed it
            except OSError as e:  # such as a link in a directory that is closed to us, too, who are not root
                if e.errno not in UNTAKEN:
                    raise
                skipped[path] = f"{UNREADABLE}: {e.strerror}"
        self.skipped |= {prefix + path: why for path, why in skipped.items()}

    def _add(self, keeper: Keeper, path: str, entry: os.DirEntry[str], at: int) -> None:
        if entry.is_symlink():
            self.links[path] = os.readlink(entry.name, dir_fd=at)
            return
        is_file = entry.is_file(follow_symlinks=False)
        if not is_file and not entry.is_dir(follow_symlinks=False):
            self.skipped[path] = "not a file, directory or symlink"
            return
        flags = os.O_NOFOLLOW | os.O_NONBLOCK if is_file else DIRECTORY
        with ask(keeper, lib.OP_OPEN, entry.name, flags, self.whole, at) as fd:
            mode = os.fstat(fd.number).st_mode & 0o777
            if is_file:
                self.files[path] = mode, self.contents.read(fd.number, path)
            else:
                self.directories[path] = mode

    def snapshot(self) -> Snapshot:
        """All of it."""
        return Snapshot(self.files, self.directories, self.links, self.skipped)  # type: ignore[arg-type]


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
                self.count(len(data), path)
            if not parts:
                return  # cut meanwhile
            whole = b"".join(parts)
            yield at - len(whole), whole

    def count(self, size: int, path: str) -> None:
        """So many bytes more. OSError when all are more than the disk."""
        if self.left is not None:
            self.left -= size
            if self.left < 0:
                raise OSError(errno.EFBIG, "the files are more than disk= allows: written meanwhile?", path)


def clear(keeper: Keeper) -> None:
    """An empty workspace, whatever was in it."""
    try:
        _, failure = parse_reply(keeper.ask(lib.OP_RESET)[0])
    except Gone:
        raise KeeperError(keeper.lost) from None
    if failure is not None:
        raise OSError(failure.errno, os.strerror(failure.errno), "/box")


def restore(keeper: Keeper, snapshot: Snapshot) -> None:
    """See `Session.restore`."""
    clear(keeper)
    fill(keeper, snapshot)


def fill(keeper: Keeper, snapshot: Snapshot) -> None:
    """Put all of it where nothing is. Links come last: nothing is written through one."""
    for path, mode in sorted(snapshot.directories.items()):
        with contextlib.suppress(FileExistsError):  # something is mounted in it
            ask(keeper, lib.OP_MKDIR, text("path", path), mode=lib.PJ_WHOLE | mode)
    for path, (mode, content) in snapshot._stored.items():
        with sparse(content) as fd:
            put_source(keeper, path, lib.PJ_WHOLE | mode, fd.number)
    for path, target in snapshot.links.items():
        with memfd("pyjail-file", os.fsencode(target)) as fd:
            put_source(keeper, path, lib.PJ_WHOLE, fd.number, 1)


def put_content(keeper: Keeper, path: str, mode: int, content: Content) -> None:
    """A file with this content, over one that is there; directories on the way are made."""
    name = place(path)
    parents(keeper, name)
    with contextlib.suppress(FileNotFoundError):
        ask(keeper, lib.OP_REMOVE, name)
    with sparse(content) as fd:
        put_source(keeper, name, mode, fd.number)


def sparse(content: Content) -> Fd:
    """A memfd with this content, and with its holes."""
    fd = memfd("pyjail-file")
    pour(content, fd.number)
    return fd


def pour(content: Content, fd: int) -> None:
    """Write it into an empty file."""
    os.ftruncate(fd, content.size)
    for at, data in content.pieces:
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, at)
            at, view = at + written, view[written:]
