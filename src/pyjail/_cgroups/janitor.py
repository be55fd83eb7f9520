"""The process that removes our cgroup directories when this one has ended, however it did: csrc/janitor.c.

It is there before the first of them, so none is without somebody who knows of it.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import signal
import threading
from collections.abc import Iterable

from pyjail._core.native import ffi, lib

from pyjail._base import lazy
from pyjail._base.errors import KeeperError
from pyjail._base.fds import (
    Fd,
    identity,
    itself,
    readable,
)
from pyjail._core import program
from pyjail._core.program import pack_head
from pyjail._host.owner import check_owner

_PATIENCE_S = 5.0  # for a janitor that somebody has stopped
_END_MS = 2000  # from SIGKILL


class _Janitor:
    def __init__(self) -> None:
        self.owner = os.getpid()
        self.told: set[str] = set()
        self.pair: list[tuple[_socket.socket, _socket.socket]] = []
        self.identity: tuple[int, int] | None = None  # of our end
        self.spawned = ffi.new("int *", -1)  # its pidfd, there even when a signal handler raises as soon as C returns
        self.pidfd = Fd()
        self.pid = -1

    def start(self) -> None:
        """Raises OSError."""
        with lazy.lock:  # no child that is forked now has them
            self.pair.extend(map(_socket.socketpair, (_socket.AF_UNIX,), (_socket.SOCK_SEQPACKET,)))
        ours, theirs = self.pair[0]
        self.identity = identity(ours.fileno())
        ours.settimeout(_PATIENCE_S)
        failure = ffi.new("struct pj_error *")
        with itself() as us:
            fds = [theirs.fileno(), us.number]
            self.pid = lib.pj_spawn(program.program().number, fds, len(fds), self.spawned, failure)
        if self.pid < 0:
            raise OSError(failure.err, os.strerror(failure.err))
        theirs.close()
        self._adopt()

    def _adopt(self) -> None:
        if self.spawned[0] >= 0:
            self.pidfd.adopt(self.spawned[0])
            self.spawned[0] = -1
            self.pidfd.remember()

    def tell(self, path: str) -> None:
        """Raises OSError when it is gone."""
        try:
            check_owner(path)
        except KeeperError:
            _wanted.pop(path, None)
            raise
        self.say(path)

    def say(self, path: str) -> None:
        """`tell`, of whosever it is: the janitor looks at its name, too."""
        ours = self.pair[0][0]
        if not self.identity or identity(ours.fileno()) != self.identity:
            raise ConnectionResetError
        ours.send(pack_head(lib.OP_TIDY, 0, 0, 0, 0) + os.fsencode(path) + b"\0")
        self.told.add(path)

    def close(self) -> None:
        """End it, and wait for that: it must not remove what is made next."""
        if self.owner == os.getpid():
            self._adopt()
            with contextlib.suppress(OSError):
                if not self.pidfd.ours and self.pid > 0:  # somebody closed it: while it is not reaped, the pid is its
                    os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                    self.pidfd = Fd(os.pidfd_open, self.pid)
                if self.pidfd.ours:
                    signal.pidfd_send_signal(self.pidfd.number, signal.SIGKILL)
                    # As pid 1 of a pid namespace it waits until all in that are reaped, and some may be this process's
                    # own children. It makes no call any more.
                    if readable(self.pidfd.number, _END_MS):
                        os.waitid(os.P_PIDFD, self.pidfd.number, os.WEXITED)
            self.pid = -1
        self.forget()

    def forget(self) -> None:
        """Close our ends: in a forked child those are copies."""
        for sock in [sock for both in self.pair for sock in both]:
            if self.identity is None or identity(sock.fileno()) == self.identity or sock is not self.pair[0][0]:
                sock.close()
            else:
                sock.detach()  # somebody else's by now
        self.pidfd.close()


_current: _Janitor | None = None
_wanted: dict[str, None] = {}  # what is to go with us, in the order in which it was made
_lock = threading.RLock()  # a signal handler may come here, too


def watch(path: str) -> None:
    """Have this directory, which is about to be made, removed at our end with what is below it.

    Who lacks fds or memory for that does without: what is left then, the next start removes (`tree.clean_stale`).
    """
    global _current
    with _lock:
        _wanted[path] = None
        if _current is not None and path in _current.told:
            return
        with contextlib.suppress(OSError):
            if _current is not None:
                with contextlib.suppress(OSError):  # it is gone, whoever ended it
                    _current.tell(path)
                    return
                _end()
            _begin()


def _begin() -> None:
    global _current
    _current = _Janitor()
    try:
        _current.start()
        for path in tuple(_wanted):
            _current.tell(path)
    except BaseException:
        _end()
        raise


def follow() -> None:
    """Have the janitor where this process is now, which was moved: the cgroup that it left may need to be empty."""
    global _current
    with _lock:
        if _current is None:
            return
        old = _current
        try:
            with contextlib.suppress(OSError):
                _begin()
        finally:
            old.close()


def pid() -> int:
    """The janitor's; -1 when there is none."""
    return -1 if _current is None else _current.pid


def _end() -> None:
    global _current
    if _current is not None:
        _current.close()
        _current = None


def forgo(paths: Iterable[str]) -> None:
    """These are gone, or have been for somebody else to make. With the last one the janitor goes."""
    with _lock:
        for path in paths:
            _wanted.pop(path, None)
        if not _wanted:
            _end()


def forget() -> None:
    """After os.fork, in the child: it is the parent's, and a lock may have been held by a thread."""
    global _current, _lock
    _lock = threading.RLock()
    _wanted.clear()
    if _current is not None:
        _current.forget()
        _current = None
