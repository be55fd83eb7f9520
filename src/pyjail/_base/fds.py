"""File descriptors that have an owner from the instant at which they exist, and that know their own.

A signal handler may raise between any two steps of Python code, so what the kernel returns is put into the owner's
list by C code alone (`list.extend` of a `map`), and is taken out and closed by C code alone. And a number is only a
number: who closes what is not his (os.closerange) makes ours name a file of his.
"""

from __future__ import annotations

import _socket  # socket adds 2 ms of names to it, which nothing here uses
import contextlib
import errno
import fcntl
import functools
import os
import select
import sys
import time
import weakref
from collections.abc import Callable
from itertools import chain, starmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

# Of this process, now: what they stop says nothing else. (EINTR: a file system that is far away; Python asks again only
# where a call waits.)
SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)
MFD_NOEXEC_SEAL, MFD_EXEC = 0x8, 0x10  # Linux 6.3; older kernels refuse the flags and need none
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_ROOM = 16  # fds that loading a library may need for a moment (ctypes.util runs programs)


class Fd:
    """At most one fd, closed with its owner: ``Fd(os.open, path, flags)`` calls that and keeps what it returns."""

    __slots__ = ("__weakref__", "_guard", "_held", "_said", "_seals", "_was")

    def __init__(self, make: Callable[..., int] | None = None, *args: Any) -> None:
        self._held: list[Any] = []  # the number; for a moment the message that it came in
        self._was: list[tuple[int, int] | None] = []
        self._seals: int | None = None
        self._said: tuple[bytes, bool] | None = None
        self._guard: weakref.ref[Fd] | None = None
        if make is not None:
            self._own(make, *args)

    def _own(self, make: Callable[..., Any], *args: Any) -> None:
        self._watch()
        self._held.extend(starmap(make, (args,)))

    def _watch(self) -> None:
        # No __del__: it would run for every one that is closed already, and an exception of a signal handler is lost
        # in a destructor. The guard goes when the fd does.
        self._guard = weakref.ref(self, functools.partial(_let_go, self._held, self._was))
        _guards.add(self._guard)

    @property
    def number(self) -> int:
        """The fd, -1 when there is none."""
        return self._held[0] if self._held else -1

    def hand_over(self, make: Callable[..., T], *args: Any) -> T:
        """What ``make(number, *args)``, a call of C alone, returns: from then on that owns the fd."""
        made: list[T] = []
        made.extend(map(make, map(self._held.pop, (0,)), *[(a,) for a in args]))
        return made[0]

    def adopt(self, number: int, how: Callable[[int], int] = int) -> None:
        """Own this from now on; with os.dup a copy of it."""
        self._own(how, number)

    def receive(self, sock: _socket.socket, size: int) -> tuple[bytes, bool]:
        """Own the fd that comes with one message: (the message, whether there is no room for its fd here)."""
        self.take(sock, size)
        said = self.message()
        assert said is not None
        return said

    def take(self, sock: _socket.socket, size: int) -> None:
        """The first half of `receive`: what has come is in here, whoever is interrupted."""
        self._own(sock.recvmsg, size, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)

    def message(self) -> tuple[bytes, bool] | None:
        """The second half, as often as asked, by one thread at a time; None: nothing has come."""
        if self._held and isinstance(self._held[0], tuple):
            raw, _, flags, _ = self._held[0]
            self._said = raw, bool(flags & _socket.MSG_CTRUNC)
            _unpack(self._held)
            if not self._held:
                self.close()
        return self._said

    def remember(self, seals: int | None = None) -> None:
        """For what is kept between runs: what it is now, so that `ours` can tell."""
        self._was[:], self._seals = [identity(self.number)], seals

    @property
    def ours(self) -> bool:
        """Whether there is one, and it is still what it was."""
        if not self._held or (self._was and identity(self._held[0]) != self._was[0]):
            return False
        return self._seals is None or fcntl.fcntl(self._held[0], fcntl.F_GET_SEALS) == self._seals

    def close(self) -> None:
        """May be called twice. What is somebody else's by now is let alone."""
        _let_go(self._held, self._was, self._guard)
        self._guard = None

    def __enter__(self) -> Fd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_guards: set[weakref.ref[Fd] | None] = set()


def _let_go(held: list[Any], was: list[tuple[int, int] | None], guard: weakref.ref[Fd] | None) -> None:
    _unpack(held)
    if held and was and identity(held[0]) != was[0]:
        held.clear()
    while held:
        with contextlib.suppress(IndexError, OSError):
            next(map(os.close, iter(held.pop, None)))
    _guards.discard(guard)


def _unpack(held: list[Any]) -> None:
    if held and isinstance(held[0], tuple):
        held[:] = [int.from_bytes(data[:4], sys.byteorder) for _, _, data in held[0][1]]


def pair(make: Callable[..., tuple[int, int]]) -> tuple[Fd, Fd]:
    """The two fds that ``make()`` returns, as os.pipe does."""
    both, first, second = Fd(), Fd(), Fd()
    for fd in (both, first, second):
        fd._watch()
    both._held.extend(chain.from_iterable(starmap(make, ((),))))
    for fd in (first, second):
        fd._held.extend(map(both._held.pop, (0,)))
    both.close()
    return first, second


def itself() -> Fd:
    """A pidfd of this process: it tells whoever has it, in any pid namespace and with any ids, that we have ended."""
    return Fd(os.pidfd_open, os.getpid())


def memfd(name: str, data: bytes = b"", *, seal: bool = False, execute: bool = False) -> Fd:
    """A memfd with ``data``, close-on-exec; sealed against any change when asked."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = Fd(os.memfd_create, name, flags | (MFD_EXEC if execute else MFD_NOEXEC_SEAL))
    except OSError as e:
        if e.errno != errno.EINVAL:  # what a kernel before 6.3 says
            raise
        fd = Fd(os.memfd_create, name, flags)
    fill(fd, data, seal=seal)
    return fd


def fill(fd: Fd, data: bytes, *, seal: bool) -> None:
    """Write this into an empty file; of a memfd: then nobody changes it when ``seal``."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd.number, view) :]
    if seal:
        fcntl.fcntl(fd.number, fcntl.F_ADD_SEALS, SEALS)
        os.lseek(fd.number, 0, os.SEEK_SET)


def identity(number: int) -> tuple[int, int] | None:
    """What this fd is; None when it is not open. (Before Linux 6.9 all pidfds are one inode.)"""
    try:
        st = os.fstat(number)
    except OSError:
        return None
    return st.st_dev, st.st_ino


def not_ours(e: OSError) -> None:
    """Raise it again when it says something of this process, now, and nothing of the file that it was about."""
    if e.errno in SHORT:
        raise e


def blame(e: Exception) -> None:
    """Raise OSError if a library may have failed to load for want of fds alone: loaders do not say."""
    if isinstance(e, OSError) and e.errno in SHORT:
        raise e
    held = [Fd(os.eventfd, 0) for _ in range(_ROOM)]
    del held


def readable(fd: int, milliseconds: int) -> bool:
    """Within that time; a pidfd is when its process has ended. (poll, not select: fds may be above 1023.)"""
    if fd < 0:  # closed: who reads is told
        return True
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(milliseconds))


def until(end: float | None) -> int:
    """Milliseconds for poll, to that instant of time.monotonic() or to a part of what poll takes; -1: for ever."""
    return -1 if end is None else max(0, int(min(end - time.monotonic(), 1e6) * 1000 + 0.999))


def by(fd: int, end: float | None) -> bool:
    """`readable`, by that instant of time.monotonic(), however far it is; None: for ever."""
    while not readable(fd, until(end)):
        if end is not None and time.monotonic() >= end:
            return False
    return True
