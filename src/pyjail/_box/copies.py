"""Files and directories from the host into a box and out of it: no link is followed on either side."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from functools import partial

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
            if taken is not None and above not in self.skipped:
                with self._opened(above) as out:
                    _made(out, name, *taken)
                if taken[0] is None:
                    modes.append((path, taken[1]))
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

    def _taken(self, path: str, entry: os.DirEntry[str], at: int) -> tuple[Content | str | None, int] | None:
        """(a file's content, where a link leads, or None for a directory; its mode). None: it is left out."""
        if entry.is_symlink():
            return os.readlink(entry.name, dir_fd=at), 0
        is_file = entry.is_file(follow_symlinks=False)
        if not is_file and not entry.is_dir(follow_symlinks=False):
            self.skipped[path] = "not a file, directory or symlink"
            return None
        flags = os.O_NOFOLLOW | os.O_NONBLOCK if is_file else workspace.DIRECTORY
        with workspace.ask(self.keeper, lib.OP_OPEN, entry.name, flags, 0, at) as fd:
            content = self.contents.read(fd.number, path) if is_file else None
            return content, os.fstat(fd.number).st_mode & 0o777


def _made(out: Fd, name: str, what: Content | str | None, mode: int) -> None:
    """On the host: a directory is closed to others until it is filled."""
    if what is None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=out.number)
    elif isinstance(what, str):
        _link(out, name, what)
    else:
        _file(out, name, what, mode)


def _file(out: Fd, name: str, content: Content, mode: int) -> None:
    for _ in range(_TRIES):
        try:
            fd = Fd(partial(os.open, dir_fd=out.number), name, _NEW, 0o600)
        except FileExistsError:
            os.unlink(name, dir_fd=out.number)
            continue
        with fd:
            contents.pour(content, fd.number)
            os.fchmod(fd.number, mode)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)


def _link(out: Fd, name: str, target: str) -> None:
    for _ in range(_TRIES):
        try:
            os.symlink(target, name, dir_fd=out.number)
            return
        except FileExistsError:
            os.unlink(name, dir_fd=out.number)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
