"""What the proxy is asked about a run, and the socket on which it answers that alone."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Protocol

from pyjail._base.fds import by
from pyjail._egress import packets
from pyjail._result.contact import Contact, Contacts

ANSWER_S = 10.0  # for a proxy that somebody has stopped


class Asker(Protocol):
    """Who asked."""

    def told(self, answer: Answer) -> None: ...

    def silent(self, answer: Answer, why: str) -> Contacts: ...


class Answer:
    """The `Contacts` of one run, as soon as the proxy tells them. One caller at a time.

    With an event loop: `take`, until it has them, each time that `fileno` is readable; `give_up` after ``ANSWER_S``.
    Without: `wait`. What nobody wants any more is to be closed.
    """

    def __init__(self, asker: Asker, number: int, pid: int, sock: socket.socket | None, told: Contacts | None) -> None:
        self.asker, self.number, self.pid = asker, number, pid
        self._sock, self._told = sock, told
        self._rows: list[Contact] = []

    def fileno(self) -> int:
        """Readable when `take` has something to do; -1 when there is nothing to wait for."""
        return -1 if self._sock is None else self._sock.fileno()

    def take(self) -> Contacts | None:
        """What was asked for; None: it is not all here. Waits for nothing, but for a proxy that dies just now.

        Of a proxy that has ended, a row says so.
        """
        while self._told is None and self._sock is not None:
            try:
                packet = self._sock.recv(packets.MOST, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            except OSError:  # somebody has closed it
                packet = b""
            if not packet:
                return self._keep(self.asker.silent(self, ""))
            rows, omitted, last = packets.rows(packet)
            self._rows += rows
            if last:
                return self._keep(Contacts(tuple(self._rows), omitted))
        return self._told or Contacts.gone()

    def wait(self) -> Contacts:
        """Wait for it, but not for ever."""
        end = time.monotonic() + ANSWER_S
        while (told := self.take()) is None:
            if not by(self.fileno(), end):
                return self.give_up()
        return told

    def give_up(self) -> Contacts:
        """It took too long: the proxy is of no use, and ended; a row says why."""
        return self._told or self._keep(self.asker.silent(self, "it does not answer"))

    def close(self) -> None:
        """It is not wanted any more."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.close()
            self._sock = None
            self.asker.told(self)

    def _keep(self, told: Contacts) -> Contacts:
        self._told = told
        self.close()
        return told
