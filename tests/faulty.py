"""One system call of ours that fails, once: the n-th that pyjail's own code makes, with an errno that it can have."""

from __future__ import annotations

import _socket
import builtins
import contextlib
import errno
import fcntl
import os
import select
import signal
import sys
import threading
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Iterator
from typing import Any

import pyjail
from pyjail._cgroups import janitor
from pyjail._keeper import keeper

OURS = os.path.dirname(pyjail.__file__) + os.sep
SHORT = (errno.ENOMEM, errno.EMFILE, errno.EINTR, errno.ENOSPC)
LOOKS = ("stat", "lstat", "readlink", "read", "pread", "scandir", "listdir", "statvfs", "fstatvfs")
# What can fail on a machine that is short of something, or on a filesystem that is far away. close(2), and what only looks
# at an fd of ours, such as fstat(2) and F_GETFL, cannot.
OS = (
    *("open", "memfd_create", "pipe", "pipe2", "dup", "eventfd", "pidfd_open", "openpty"),
    *("mkdir", "makedirs", "mkfifo", "symlink", "rename", "replace", "unlink", "rmdir", "utime", "chmod", "fchmod"),
    *("write", "pwrite", "ftruncate", "chown", *LOOKS),
)


class Fault:
    """``calls``: what was called so far; ``hit``: the call that failed, once there was one."""

    def __init__(self, at: int, turn: int) -> None:
        self.at, self.turn = at, turn
        self.calls: list[str] = []
        self.hit: tuple[str, int] | None = None
        self._lock = threading.Lock()

    def due(self, name: str, errors: tuple[int, ...] = SHORT, depth: int = 2) -> OSError | None:
        """The error of this call, if it is the one."""
        frame = sys._getframe(depth)
        if not frame.f_code.co_filename.startswith(OURS) or (name, frame.f_code.co_name) == ("poll", "readable"):
            return None  # poll(2) of one fd needs no memory
        with self._lock:
            self.calls.append(name)
            if len(self.calls) != self.at:
                return None
            number = errors[self.turn % len(errors)]
            where = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}"
            self.hit = f"{name} in {where}", number
            return OSError(number, os.strerror(number))

    def wrap(self, name: str, call: Callable[..., Any], errors: tuple[int, ...] = SHORT) -> Callable[..., Any]:
        def faulty(*args: Any, **kw: Any) -> Any:
            error = self.due(name, errors)
            if error is not None:
                raise error
            return call(*args, **kw)

        return faulty


class _Sock:
    """A socket of the keeper's whose calls may fail."""

    def __init__(self, sock: Any, fault: Fault) -> None:
        self._sock, self._fault = sock, fault

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._sock, name)
        if name in ("send", "sendmsg"):
            return self._fault.wrap(name, found, (*SHORT, errno.ENOBUFS))
        if name in ("recv", "recvmsg"):
            return self._fault.wrap(name, found)
        return found


class _Poll:
    def __init__(self, fault: Fault) -> None:
        self._poll, self._fault = fault.real_poll(), fault  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._poll, name)
        return self._fault.wrap("poll", found) if name == "poll" else found


class _File:
    """What `open` has opened: its reads and writes may fail, too."""

    def __init__(self, file: Any, fault: Fault) -> None:
        self._file, self._fault = file, fault

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        if name in ("read", "readall", "write"):
            return self._fault.wrap(f"file {name}", found, SHORT if name == "write" else SHORT[:3])
        return found

    def __enter__(self) -> _File:
        self._file.__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        self._file.__exit__(*args)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)


class _Lib:
    def __init__(self, lib: Any, fault: Fault) -> None:
        self._lib, self._fault = lib, fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lib, name)

    def pj_spawn(self, *args: Any) -> int:
        error = self._fault.due("clone", (errno.EAGAIN, *SHORT))
        if error is None:
            return int(self._lib.pj_spawn(*args))
        args[-1].step, args[-1].index, args[-1].err = self._lib.STEP_CLONE, 0xFFFFFFFF, error.errno
        return -1


@contextlib.contextmanager
def fault(at: int, turn: int) -> Iterator[Fault]:
    """The call number ``at`` fails, with the errno that it is the ``turn`` of. 0: none does, they are counted."""
    found = Fault(at, turn)
    found.real_poll = select.poll  # type: ignore[attr-defined]
    kept: list[tuple[Any, str, Any]] = []

    def patch(owner: Any, name: str, new: Any) -> None:
        kept.append((owner, name, getattr(owner, name)))
        setattr(owner, name, new)

    def pair(*args: Any) -> tuple[Any, Any]:
        error = found.due("socketpair")
        if error is not None:
            raise error
        ours, theirs = socketpair(*args)
        return _Sock(ours, found), theirs

    socketpair = _socket.socketpair

    def opened(*args: Any, **kw: Any) -> Any:
        writes = len(args) > 1 and args[1] not in ("r", "rb")
        error = found.due("fopen", SHORT if writes else SHORT[:3])
        if error is not None:
            raise error
        file = fopen(*args, **kw)
        return _File(file, found) if sys._getframe(1).f_code.co_filename.startswith(OURS) else file

    def start(thread: threading.Thread) -> None:
        if found.due("thread", (errno.EAGAIN,)) is not None:
            raise RuntimeError("can't start new thread")  # as CPython has it
        thread_start(thread)

    fopen, thread_start = builtins.open, threading.Thread.start
    for name in OS:
        patch(os, name, found.wrap(name, getattr(os, name), SHORT[:3] if name in LOOKS else SHORT))
    patch(builtins, "open", opened)
    patch(threading.Thread, "start", start)
    for name in ("add_reader", "add_writer"):
        patch(BaseSelectorEventLoop, name, found.wrap(name, getattr(BaseSelectorEventLoop, name)))
    patch(fcntl, "flock", found.wrap("flock", fcntl.flock, (*SHORT, errno.ENOLCK)))
    patch(signal, "pidfd_send_signal", found.wrap("pidfd_send_signal", signal.pidfd_send_signal))
    patch(_socket, "socketpair", pair)
    patch(select, "poll", lambda: _Poll(found))
    patch(keeper, "lib", _Lib(keeper.lib, found))
    patch(janitor, "lib", _Lib(janitor.lib, found))
    try:
        yield found
    finally:
        found.at = -1
        for owner, name, old in reversed(kept):
            setattr(owner, name, old)
