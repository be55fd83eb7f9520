"""A keeper that several threads talk to: one awaits a report, others ask for files meanwhile.

Any of them may be interrupted at any step by a signal handler that raises. What it has read for others is not lost,
what is answered to it is nobody else's, and nobody waits for a reader that is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from _thread import allocate_lock

from pyjail._base.fds import Fd
from pyjail._keeper.keeper import Keeper
from pyjail._keeper.talk import (
    REPORT_SIZE,
    Gone,
    Late,
    gone,
)
from pyjail._plan.wire import number_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOOK_S = 0.1  # after so long one looks again: who was to ring may have been interrupted


class _Waiter:
    """Who waits for the answer to the message of this ``number``; 0: nobody any more. To be one no longer is one store,
    which no signal handler can come between."""

    __slots__ = ("bell", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.bell = allocate_lock()
        self.bell.acquire()


class SharedKeeper(Keeper):
    """There is one socket. Whoever waits while nobody reads it reads, and hands on what is for somebody else."""

    lost = "the session's keeper died, and its /box with it: start a new session"
    full = "No space left in the session's /box: raise Session(disk=) or Session(inodes=)"

    def __init__(self, *args: Any) -> None:
        self.mail = allocate_lock()
        self.letters: list[Fd] = []  # each with its message, perhaps just coming
        self.waiters: list[_Waiter] = []
        self.reader: _Waiter | None = None
        super().__init__(*args)

    def receive(self, kept: list[bytes], timeout: float | None = None) -> bytes:
        """As `Keeper.receive` has it."""
        waiter = _Waiter(self.turn)
        try:
            raw, _ = self._letter(waiter, timeout).message() or (b"", False)
            kept[:] = (raw,)
            return raw
        finally:
            waiter.number = 0
            self._leave()

    def ask(
        self, op: int, *, flags: int = 0, mode: int = 0, length: int = 0, data: bytes = b"", fds: tuple[int, ...] = ()
    ) -> tuple[bytes, Fd]:
        """As `Keeper.ask` has it."""
        waiter = _Waiter(self.next_number())
        try:
            with self.mail:
                self.waiters.append(waiter)
            self.send(op, flags=flags, mode=mode, length=length, data=data, fds=fds, number=waiter.number)
            letter = self._letter(waiter, None)
            self.letters.remove(letter)
            raw, no_room = letter.message() or (b"", False)
            if no_room:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return raw, letter
        finally:
            waiter.number = 0
            self._leave()

    def _letter(self, waiter: _Waiter, timeout: float | None) -> Fd:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            with self.mail:
                if waiter not in self.waiters:
                    self.waiters.append(waiter)
                found = self._sort(waiter.number)
                if found is not None:
                    return found
                if self.reader is None or not self.reader.number:
                    self.reader = waiter
            if self.reader is waiter:
                self._read(end)
                self.reader = None
                self._ring()
                continue
            left = LOOK_S if end is None else max(0.0, min(LOOK_S, end - time.monotonic()))
            if not waiter.bell.acquire(timeout=left) and end is not None and time.monotonic() >= end:
                raise Late

    def _leave(self) -> None:
        with self.mail:
            self._sort(0)
        self._ring()

    def _sort(self, wanted: int) -> Fd | None:
        """The letter of this number; those that nobody waits for any more are closed. The last request's stays."""
        self.waiters = [w for w in self.waiters if w.number]
        numbers = {self.turn, *(w.number for w in self.waiters)}
        found = None
        for letter in list(self.letters):
            raw, _ = letter.message() or (b"", False)
            number = number_of(raw)
            if wanted and raw and number == wanted:
                found = letter
            elif raw and number not in numbers:
                self.letters.remove(letter)
                letter.close()
        return found

    def _ring(self) -> None:
        for waiter in self.waiters:
            with contextlib.suppress(RuntimeError):  # it has been rung for
                waiter.bell.release()

    def _read(self, end: float | None) -> None:
        """Poll, not a timeout of the socket: that would be for those who send, too."""
        if end is not None:
            self._await(end)
        if self.sock.gettimeout() is not None:
            self.sock.settimeout(None)
        letter = Fd()
        self.letters.append(letter)
        said = b""
        try:
            letter.take(self.sock, REPORT_SIZE)
        except OSError as e:
            raise gone(e) from None
        finally:
            with self.mail:
                said, _ = letter.message() or (b"", False)
                if not said:
                    self.letters.remove(letter)
        if not said:
            raise Gone

    @property
    def used(self) -> bool:
        """Whether somebody waits for an answer."""
        return any(waiter.number for waiter in self.waiters)

    def forget(self) -> None:
        self.mail = allocate_lock()
        super().forget()

    def _close_fds(self) -> None:
        super()._close_fds()
        with self.mail:
            for letter in self.letters:
                letter.close()
