"""The tree of an image's first layers, which is in the store already, again by hard links: equal files are one inode.

Safe because nothing in a tree is ever written in place. Files that have as many names as the file system allows are
copied.
"""

from __future__ import annotations

import errno
import os
import stat

from pyjail._images import listing

_PIECE = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Place:
    """A new directory, open; it gets the mode and the time of the old one when it is full."""

    def __init__(self, path: bytes, fd: int, status: os.stat_result) -> None:
        self.path, self.fd, self._status = path, fd, status

    def done(self) -> None:
        os.fchmod(self.fd, stat.S_IMODE(self._status.st_mode))
        os.utime(self.fd, ns=(self._status.st_mtime_ns, self._status.st_mtime_ns))
        os.close(self.fd)


def clone(old: int, new: int) -> set[tuple[int, int]]:
    """Fill the empty directory ``new`` with what ``old`` has (both are fds); the files that both have now, by device
    and inode."""
    shared: set[tuple[int, int]] = set()
    places = [_Place(b"", os.open(".", listing.DIRECTORY, dir_fd=new), os.fstat(old))]
    try:
        for found in listing.walk(old):
            while places[-1].path != found.path[: -len(found.name)]:
                places.pop().done()
            there, status = places[-1].fd, found.status
            if stat.S_ISDIR(status.st_mode):
                os.mkdir(found.name, 0o700, dir_fd=there)
                inner = os.open(found.name, listing.DIRECTORY, dir_fd=there)
                places.append(_Place(found.path + b"/", inner, status))
            elif _linked(found, there):
                shared.add((status.st_dev, status.st_ino))
    finally:
        while places:
            places.pop().done()
    return shared


def _linked(found: listing.Found, there: int) -> bool:
    """Whether it has now a second name in the directory ``there``; else it was copied."""
    try:
        os.link(found.name, found.name, src_dir_fd=found.directory, dst_dir_fd=there, follow_symlinks=False)
        return True
    except OSError as e:
        if e.errno != errno.EMLINK:
            raise
    if stat.S_ISLNK(found.status.st_mode):
        os.symlink(os.readlink(found.name, dir_fd=found.directory), found.name, dir_fd=there)
    else:
        _copy(found, there)
    times = (found.status.st_mtime_ns, found.status.st_mtime_ns)
    os.utime(found.name, ns=times, dir_fd=there, follow_symlinks=False)
    return False


def _copy(found: listing.Found, there: int) -> None:
    source = os.open(found.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=found.directory)
    try:
        target = os.open(found.name, _NEW, 0o600, dir_fd=there)
        try:
            while piece := os.read(source, _PIECE):
                while piece:
                    piece = piece[os.write(target, piece) :]
            os.fchmod(target, stat.S_IMODE(found.status.st_mode))
        finally:
            os.close(target)
    finally:
        os.close(source)
