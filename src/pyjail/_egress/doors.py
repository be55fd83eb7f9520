"""The listening sockets of all runs, in a set of their own: one comes and goes by one call of the kernel each, which in
the event loop's set costs ten times as much; and none of them has a turn more than another."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable

_AT_ONCE = 64  # of those where somebody connects: the rest have the next turn of the loop


class Doors:
    """``watch(listening, call)``: call as long as somebody connects, until ``ignore``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.poll = select.epoll()
        self.calls: dict[int, Callable[[], None]] = {}
        loop.add_reader(self.poll.fileno(), self._ready)

    def watch(self, listening: socket.socket, call: Callable[[], None]) -> None:
        """OSError: the kernel has no memory for it."""
        number = listening.fileno()
        self.poll.register(number, select.EPOLLIN)
        self.calls[number] = call

    def ignore(self, listening: socket.socket) -> None:
        """Who connects waits in the backlog."""
        number = listening.fileno()
        del self.calls[number]
        with contextlib.suppress(OSError):
            self.poll.unregister(number)

    def _ready(self) -> None:
        for number, _ in self.poll.poll(0, _AT_ONCE):
            if (call := self.calls.get(number)) is not None:  # what came before may have ended it
                call()

    def close(self) -> None:
        """No more is watched."""
        self.loop.remove_reader(self.poll.fileno())
        self.poll.close()
