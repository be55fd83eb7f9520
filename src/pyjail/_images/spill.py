"""What an image needs to have on disk while it is read: files without names, gone when they are closed."""

from __future__ import annotations

import functools
import os
import posixpath
import stat
from collections.abc import Callable

from pyjail._base.errors import HostError
from pyjail._base.fds import Fd
from pyjail._images.bounds import Bounds
from pyjail._images.unpack import RESERVE

PIECE = 1 << 20
_OFTEN = 32 << 20  # bytes after which the disk is looked at again
_ZEROS = bytes(PIECE)


class Spill:
    """A new file ``fd`` in the directory ``staging``, written from its start; pieces of zeros take no room.

    ``bound`` names the one of ``bounds`` that it may not exceed, ``what`` is that of the error.
    """

    def __init__(self, staging: str | int, bounds: Bounds, bound: str, what: str) -> None:
        self._bounds, self._bound, self._what = bounds, bound, what
        self._most = getattr(bounds, bound)
        self._file, self.size, self._looked = nameless(staging), 0, -_OFTEN

    @property
    def fd(self) -> int:
        """-1 when it is closed, or another's."""
        return self._file.number

    def write(self, data: bytes) -> None:
        """Appends ``data``. `ImageError`: the bound is exceeded; HostError: the disk is full, or nearly so."""
        at, self.size = self.size, self.size + len(data)
        if self.size > self._most:
            raise self._bounds.exceeded(self._bound, self._what)
        if data == _ZEROS[: len(data)]:
            return
        if self.size - self._looked > _OFTEN:
            self._looked = self.size
            self._leave_room()
        view = memoryview(data)
        try:
            while view:
                done = os.pwrite(self.fd, view, at)
                view, at = view[done:], at + done
        except OSError as e:
            raise _full(e.strerror or "") from None

    def _leave_room(self) -> None:
        found = os.fstatvfs(self.fd)
        if found.f_bavail * found.f_frsize < min(found.f_blocks * found.f_frsize // 20, RESERVE):
            raise _full("what is left is kept free")

    def done(self) -> int:
        """``fd``, whole and at its start."""
        try:
            os.ftruncate(self.fd, self.size)
        except OSError as e:
            raise _full(e.strerror or "") from None
        return self.fd

    def handed_over(self) -> int:
        """As `done`, and the caller's from now on."""
        self.done()
        return self._file.hand_over(int)

    def close(self) -> None:
        self._file.close()


def _full(why: str) -> HostError:
    return HostError("image store", f"there is no room left for it ({why})", "pyjail image gc, or set PYJAIL_HOME")


def nameless(staging: str | int) -> Fd:
    """A new file in that directory that has no name, open for both."""
    where, dir_fd = (staging, None) if isinstance(staging, str) else (".", staging)
    make = functools.partial(os.open, dir_fd=dir_fd)
    try:
        return Fd(make, where, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # a file system without such files
        name = posixpath.join(where, f"spill-{os.getpid()}-{os.urandom(8).hex()}")
        fd = Fd(make, name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.unlink(name, dir_fd=dir_fd)
        return fd


def copied(read: Callable[[int], bytes], staging: str | int, bounds: Bounds) -> int:
    """A file of all that ``read`` gives, at most ``bounds.unpacked`` bytes."""
    file = Spill(staging, bounds, "unpacked", "archive")
    try:
        while piece := read(PIECE):
            file.write(piece)
        return file.handed_over()
    except BaseException:
        file.close()
        raise


def regular(fd: int, staging: str | int, bounds: Bounds) -> int:
    """``fd`` if it is a regular file, else one of all that comes out of it, such as of a pipe; ``fd`` is taken over."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    try:
        if not stat.S_ISFIFO(mode):
            raise HostError("image", "it is neither a file nor a pipe", "name a tar archive, or its directory")
        return copied(lambda n: os.read(fd, n), staging, bounds)
    finally:
        os.close(fd)
