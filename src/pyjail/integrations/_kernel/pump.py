"""Copies bytes between pairs of sockets, all in one thread. Standard library only: a copy of this runs in the jail.

Each direction holds one block at most: who reads slowly makes its own peer wait, and nobody else.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from functools import partial

BLOCK = 1 << 16
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class End:
    """One of two sockets that are joined, and what is still to be written to it."""

    def __init__(self, sock: socket.socket, told: Callable[[int], None] | None) -> None:
        self.socket, self.told = sock, told
        self.waiting = memoryview(b"")
        self.mask = 0  # what the selector watches it for
        self.closed = False
        self.other: End = self


class Pump:
    """Joins sockets, and watches other files meanwhile. Everything here belongs to the thread that calls `turn`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ends: set[End] = set()

    def watch(self, what: socket.socket | int, ready: Callable[[], None]) -> None:
        """``ready()`` is called at each turn at which there is something to read, or to accept."""
        self._selector.register(what, READ, lambda events: ready())

    def forget(self, what: socket.socket | int) -> None:
        """Not to watch it any more; it stays open."""
        self._selector.unregister(what)

    def join(self, one: socket.socket, other: socket.socket, told: Callable[[int], None] | None = None) -> None:
        """Copy in both directions until one of them ends, which closes both. They are the pump's from now on.

        ``told(n)`` is called for each n bytes that came from ``one``, before they are written to ``other``.
        """
        a, b = End(one, told), End(other, None)
        a.other, b.other = b, a
        for end in (a, b):
            end.socket.setblocking(False)
            self._ends.add(end)
            self._look(end)

    def turn(self, timeout: float | None = None) -> None:
        """Wait until something can be done, at most ``timeout`` s, and do it."""
        for key, events in self._selector.select(timeout):
            key.data(events)

    def close(self) -> None:
        """Close all that is joined, and watch nothing."""
        for end in [*self._ends]:
            self._close(end)
        self._selector.close()

    def _ready(self, end: End, events: int) -> None:
        if events & WRITE and not end.closed:
            self._write(end)
        if events & READ and not end.closed and not end.other.waiting:
            self._read(end)

    def _read(self, end: End) -> None:
        try:
            data = end.socket.recv(BLOCK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(end)  # nothing of what it said is waiting: it is read only then
            return
        if end.told is not None:
            end.told(len(data))
        end.other.waiting = memoryview(data)
        self._write(end.other)

    def _write(self, end: End) -> None:
        try:
            end.waiting = end.waiting[end.socket.send(end.waiting) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close(end)
            return
        self._look(end)
        self._look(end.other)

    def _look(self, end: End) -> None:
        """Watch it for what can be done with it."""
        mask = (WRITE if end.waiting else 0) | (0 if end.other.waiting else READ)
        if mask == end.mask:
            return
        if not mask:
            self._selector.unregister(end.socket)
        elif not end.mask:
            self._selector.register(end.socket, mask, partial(self._ready, end))
        else:
            self._selector.modify(end.socket, mask, partial(self._ready, end))
        end.mask = mask

    def _close(self, end: End) -> None:
        for one in (end, end.other):
            if one.mask:
                self._selector.unregister(one.socket)
            one.closed, one.mask = True, 0
            one.socket.close()
            self._ends.discard(one)
