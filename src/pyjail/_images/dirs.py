"""Directories below one fd, opened component by component and never through a symlink; removal, as deep as it gets."""

from __future__ import annotations

import contextlib
import os
import resource

from pyjail._images.paths import joined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 256  # directories that are open at the same time, or a quarter of the fds that this process may have
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Dir:
    """One open directory: its fd, its path below the root, and the mtime that it gets back when it is closed.

    ``layer`` is the number of the layer for which its path was noted.
    """

    __slots__ = ("fd", "layer", "mtime", "path")

    def __init__(self, fd: int, path: bytes) -> None:
        self.fd = fd
        self.path = path
        self.mtime = os.fstat(fd).st_mtime_ns
        self.layer = -1

    def close(self) -> None:
        try:
            os.utime(self.fd, ns=(self.mtime, self.mtime))
        finally:
            os.close(self.fd)


class Dirs:
    """The directories that were used last. A `Dir` of it is open until so many others were."""

    def __init__(self, root_fd: int) -> None:
        self.root = Dir(os.dup(root_fd), b"")
        self._open: dict[bytes, Dir] = {}
        self._most = max(2, min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))

    def get(self, path: bytes) -> Dir | None:
        """The directory of ``path`` if it is open."""
        if not path:
            return self.root
        found = self._open.pop(path, None)
        if found is not None:
            self._open[path] = found  # now it is the one that was used last
        return found

    def child(self, above: Dir, base: bytes) -> Dir:
        """The directory ``base`` in ``above``. Errors: FileNotFoundError, NotADirectoryError (a symlink, too)."""
        path = joined(above.path, base)
        found = self.get(path)
        if found is None:
            found = self._open[path] = Dir(os.open(base, DIRECTORY, dir_fd=above.fd), path)
            if len(self._open) > self._most:
                self._open.pop(next(iter(self._open))).close()
        return found

    def made(self, above: Dir, base: bytes, mode: int, mtime: int) -> Dir:
        """A new directory. Errors: FileExistsError."""
        os.mkdir(base, 0o700, dir_fd=above.fd)
        found = self.child(above, base)
        os.fchmod(found.fd, mode)
        found.mtime = mtime
        return found

    def remove(self, above: Dir, base: bytes) -> None:
        """Remove what is there, with all that is below it."""
        self._gone(above.fd, base, joined(above.path, base))

    def clear(self, path: Dir, keep: Callable[[bytes], bool], done: Callable[[bytes], bool]) -> None:
        """Remove what is below ``path`` but what ``keep`` names.

        A directory that is kept is looked into, unless ``done`` says that this was done. Directories keep their mtime.
        """
        levels = [_level(os.dup(path.fd), path.path)]
        try:
            while levels:
                fd, here, found, mtime = levels[-1]
                for entry in found:
                    child = os.fsencode(entry.name)
                    below = joined(here, child)
                    if not keep(below):
                        self._gone(fd, child, below)
                    elif entry.is_dir(follow_symlinks=False) and not done(below):
                        levels.append(_level(os.open(child, DIRECTORY, dir_fd=fd), below))
                        break
                else:
                    levels.pop()
                    found.close()
                    os.utime(fd, ns=(mtime, mtime))
                    os.close(fd)
        finally:
            for fd, _, found, _ in levels:
                found.close()
                os.close(fd)

    def _gone(self, fd: int, base: bytes, path: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):
            try:
                os.unlink(base, dir_fd=fd)
            except IsADirectoryError:
                self.forget(path)
                remove(fd, base)

    def forget(self, path: bytes) -> None:
        """Close what is open at and below ``path``, which is about to be removed."""
        for name in [name for name in self._open if name == path or name.startswith(path + b"/")]:
            self._open.pop(name).close()

    def close(self) -> None:
        """Close all; each gets its mtime."""
        while self._open:
            self._open.popitem()[1].close()
        if self.root.fd >= 0:
            self.root.close()
            self.root.fd = -1


def remove(fd: int, name: bytes) -> None:
    """Remove the directory ``name`` in ``fd``, and all that is below it, without going through a symlink."""
    levels: list[tuple[int, bytes, int, os._ScandirIterator[str]]] = []
    try:
        _enter(levels, fd, name)
        while levels:
            above, base, own, found = levels[-1]
            for entry in found:
                child = os.fsencode(entry.name)
                try:
                    os.unlink(child, dir_fd=own)
                except IsADirectoryError:
                    _enter(levels, own, child)
                    break
                except FileNotFoundError:
                    continue
            else:
                levels.pop()
                found.close()
                os.close(own)
                os.rmdir(base, dir_fd=above)
    finally:
        for _, _, own, found in levels:
            found.close()
            os.close(own)


def _enter(levels: list[tuple[int, bytes, int, os._ScandirIterator[str]]], above: int, base: bytes) -> None:
    own = os.open(base, DIRECTORY, dir_fd=above)
    try:
        levels.append((above, base, own, os.scandir(own)))
    except BaseException:
        os.close(own)
        raise


def _level(fd: int, path: bytes) -> tuple[int, bytes, os._ScandirIterator[str], int]:
    try:
        return fd, path, os.scandir(fd), os.fstat(fd).st_mtime_ns
    except BaseException:
        os.close(fd)
        raise
