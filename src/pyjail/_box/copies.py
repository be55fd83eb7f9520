"""Files and directories from the host into a box and out of it: no link is followed on either side."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from pyjail._core.native import lib

from pyjail._base.errors import SpecError
from pyjail._base.fds import Fd
from pyjail._box import files
from pyjail._box.keeper import BoxKeeper
from pyjail._box.life import Life
from pyjail._session import box as workspace
from pyjail._session import contents
from pyjail._session.snapshot import Content
from pyjail._spec import inputs
from pyjail._spec.jail import text

T = TypeVar("T")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 20  # against somebody who makes the same name


def copy_in(life: Life, src: object, dst: object) -> None:
    """See `Box.copy_in`."""
    name, source = files.place("dst", dst), text("src", src)
    try:
        found = inputs.check_copied(source)
    except OSError as e:
        raise SpecError("src", source, f"cannot be read: {e.strerror}") from None

    def call(keeper: BoxKeeper) -> None:
        for item in found:
            workspace.put(keeper, f"{name}/{item.path}".rstrip("/"), item)

    life.asked(call)


def copy_out(life: Life, disk: int | None, src: object, dst: object) -> dict[str, str]:
    """See `Box.copy_out`."""
    name, target = files.place("src", src), text("dst", dst)
    where = os.path.abspath(target)

    def call(keeper: BoxKeeper) -> dict[str, str]:
        with workspace.ask(keeper, lib.OP_OPEN, name, os.O_RDONLY | os.O_NONBLOCK) as top:
            st = os.fstat(top.number)
            if stat.S_ISDIR(st.st_mode):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(where, 0o777)
                with Fd(os.open, where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) as out:
                    return _Out(keeper, disk, out).tree(top)
            if not stat.S_ISREG(st.st_mode):
                raise OSError(errno.EINVAL, "neither a regular file nor a directory", name)
            with Fd(os.open, os.path.dirname(where), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) as out:
                content = contents.Contents(disk).read(top.number, name)
                _file(out, os.path.basename(where), content, st.st_mode & 0o777)
        return {}

    return life.asked(call)


class _Out:
    """One directory of the host that is written to. Its own directories are opened one by one, by their names."""

    def __init__(self, keeper: BoxKeeper, disk: int | None, top: Fd) -> None:
        self.keeper, self.top = keeper, top
        self.contents = contents.Contents(disk)
        self.skipped: dict[str, str] = {}
        self.made = {""}  # directories
        self.first: dict[int, str] = {}  # of files with several names: where the first one is

    def tree(self, source: Fd) -> dict[str, str]:
        """All that is below an open directory of the box; what was not copied."""
        modes: list[tuple[str, int]] = []
        for path, entry, at in workspace.walk(self.keeper, self.skipped, 0, source.number):
            try:
                taken = self._taken(path, entry, at)
            except FileNotFoundError:
                continue  # a running program has removed it
            except OSError as e:
                if e.errno not in workspace.UNTAKEN:
                    raise
                self.skipped[path] = f"{workspace.UNREADABLE}: {e.strerror}"
                continue
            above, _, name = path.rpartition("/")
            if taken is not None and above in self.made:  # else that one was removed, or closed, and came back
                what, mode, inode = taken
                with self._opened(above) as out:
                    if isinstance(what, Content):
                        self._put(path, out, name, what, mode, inode)
                    elif what is not None:
                        _link(out, name, what)
                    else:
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(name, 0o700, dir_fd=out.number)  # closed to others until it is filled
                        self.made.add(path)
                        modes.append((path, mode))
        for path, mode in reversed(modes):  # one that is closed to us could not have been filled
            with self._opened(path) as out:
                os.fchmod(out.number, mode)
        return self.skipped

    def _opened(self, path: str) -> Fd:
        at = Fd(os.dup, self.top.number)
        for part in path.split("/") if path else ():
            with at as above:
                at = Fd(partial(os.open, dir_fd=above.number), part, _DIRECTORY)
        return at

    def _put(self, path: str, out: Fd, name: str, content: Content, mode: int, inode: int) -> None:
        """A file. A further name of one that is there is one here, too: thousands would be more than the disk."""
        known = self.first.setdefault(inode, path) if inode else path
        if known != path:
            above, _, first = known.rpartition("/")
            with contextlib.suppress(OSError), self._opened(above) as other:  # where the host has no such names
                ends = {"src_dir_fd": other.number, "dst_dir_fd": out.number}
                _new(name, out, lambda: os.link(first, name, **ends, follow_symlinks=False))
                return
            self.contents.count(content.stored, path)
        try:
            _file(out, name, content, mode)
        except OSError as e:
            if e.errno != errno.EFBIG:
                raise
            self.skipped[path] = f"too large for the host: {content.size} bytes"

    def _taken(self, path: str, entry: os.DirEntry[str], at: int) -> tuple[Content | str | None, int, int] | None:
        """(a file's content, where a link leads, or None for a directory; its mode; a number for what has several
        names, else 0). None: it is left out."""
        if entry.is_symlink():
            return os.readlink(entry.name, dir_fd=at), 0, 0
        is_file = entry.is_file(follow_symlinks=False)
        if not is_file and not entry.is_dir(follow_symlinks=False):
            self.skipped[path] = "not a file, directory or symlink"
            return None
        flags = os.O_NOFOLLOW | os.O_NONBLOCK if is_file else workspace.DIRECTORY
        with workspace.ask(self.keeper, lib.OP_OPEN, entry.name, flags, 0, at) as fd:
            content = self.contents.read(fd.number, path) if is_file else None
            st = os.fstat(fd.number)
            return content, st.st_mode & 0o777, st.st_ino if is_file and st.st_nlink > 1 else 0


def _new(name: str, out: Fd, make: Callable[[], T]) -> T:
    """What ``make`` returns, which makes this name; what is there goes."""
    for _ in range(_TRIES):
        try:
            return make()
        except FileExistsError:
            os.unlink(name, dir_fd=out.number)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)


def _file(out: Fd, name: str, content: Content, mode: int) -> None:
    with _new(name, out, lambda: Fd(partial(os.open, dir_fd=out.number), name, _NEW, 0o600)) as fd:
        try:
            contents.pour(content, fd.number)
        except OSError:  # half of a file would be taken for all of it
            os.unlink(name, dir_fd=out.number)
            raise
        os.fchmod(fd.number, mode)


def _link(out: Fd, name: str, target: str) -> None:
    _new(name, out, partial(os.symlink, target, name, dir_fd=out.number))
