"""A keeper that several threads talk to: one awaits a report, others ask for files meanwhile."""

from __future__ import annotations

import select
import struct
import threading
import time
from typing import Any

from pyjail._fds import Fd
from pyjail._keeper import Gone, Keeper
from pyjail._native import lib
from pyjail._wire import parse_reply

REPORTS = frozenset((lib.REPLY_REPORT, lib.REPLY_REFUSED))
ANSWERS = frozenset((lib.REPLY_OK,))


class SharedKeeper(Keeper):
    """There is one socket. Whoever waits while nobody reads it reads, and hands on what is for somebody else."""

    def __init__(self, *args: Any) -> None:
        self.asking = threading.Lock()  # one question at a time: answers come in the order of questions
        self.mail = threading.Condition()
        self.arrived: list[tuple[bytes, Fd]] = []
        self.reading = False
        super().__init__(*args)

    def receive(self, timeout: float | None = None) -> bytes:
        """The report of the run in progress; as `Keeper.receive` has it."""
        return self._wait_for(REPORTS, timeout)[0]

    def ask(
        self, op: int, *, flags: int = 0, mode: int = 0, length: int = 0, data: bytes = b"", fds: tuple[int, ...] = ()
    ) -> tuple[bytes, Fd]:
        """As `Keeper.ask` has it."""
        with self.asking:
            self.send(op, flags=flags, mode=mode, length=length, data=data, fds=fds)
            return self._wait_for(ANSWERS, None)

    def reported(self, seconds: float | None) -> bool:
        """Whether a report is there within that time, or never will be."""
        try:
            self._wait_for(REPORTS, seconds, keep=True)
        except TimeoutError:
            return False
        except Gone:
            pass
        return True

    def _take(self, kinds: frozenset[int], keep: bool) -> tuple[bytes, Fd] | None:
        for i, item in enumerate(self.arrived):
            if parse_reply(item[0])[0] in kinds:
                return item if keep else self.arrived.pop(i)
        return None

    def _wait_for(self, kinds: frozenset[int], timeout: float | None, keep: bool = False) -> tuple[bytes, Fd]:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            with self.mail:
                while True:
                    found = self._take(kinds, keep)
                    if found is not None:
                        return found
                    if not self.reading:
                        self.reading = True
                        break
                    left = None if end is None else end - time.monotonic()
                    if not self.mail.wait(left):
                        raise TimeoutError
            item = None
            try:
                item = self._read(None if end is None else end - time.monotonic())
            finally:
                with self.mail:
                    self.reading = False
                    if item is not None:
                        self.arrived.append(item)
                    self.mail.notify_all()

    def _read(self, seconds: float | None) -> tuple[bytes, Fd]:
        """Poll, not a timeout of the socket: that would be for those who send, too."""
        poller = select.poll()
        try:
            poller.register(self.sock, select.POLLIN)
        except (OSError, ValueError):
            raise Gone from None
        if not poller.poll(None if seconds is None else max(0, int(seconds * 1000 + 0.999))):
            raise TimeoutError
        if self.sock.gettimeout() is not None:
            self.sock.settimeout(None)
        try:
            return self.answer()
        except OSError as e:  # no room for an fd that somebody asked for: that one's error, whoever reads
            return struct.pack("<3Ii", lib.REPLY_OK, lib.STEP_OPEN, lib.PJ_NONE, e.errno or 0), Fd()
