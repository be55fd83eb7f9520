"""Two connected sockets, joined: what one sends the other gets, each byte counted, in constant memory."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

# One for all, for there is one thread: what cannot be sent at once is kept by its direction alone.
_BUFFER = memoryview(bytearray(1 << 17))


class CutError(Exception):
    """A connection that was ended by a bound, or that its peer broke: why."""


class _Way:
    """One direction."""

    def __init__(self, pump: Pump, source: socket.socket, sink: socket.socket, spend: Callable[[int], str]) -> None:
        self.pump, self.source, self.sink, self.spend = pump, source, sink, spend
        self.rest = b""
        self.left: int | None = None  # bytes that are passed on, and no more are read
        self.ended = False

    def start(self) -> None:
        if self.left != 0:
            self.pump.loop.add_reader(self.source, self._guarded, self._read)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, MemoryError) as e:
            self.pump.end(CutError(f"the connection broke: {e}"))

    def _read(self) -> None:
        count = self.source.recv_into(_BUFFER[: self.left])
        self.pump.last = self.pump.loop.time()
        if not count:
            self.pump.loop.remove_reader(self.source)
            self._over()
            return
        if why := self.spend(count):
            self.pump.end(CutError(why))
            return
        if self.left is not None:
            self.left -= count
            if not self.left:
                self.pump.loop.remove_reader(self.source)
        self._send(_BUFFER[:count])

    def _send(self, data: memoryview) -> None:
        sent = 0
        with contextlib.suppress(BlockingIOError, InterruptedError):
            sent = self.sink.send(data) if data else 0
        if sent < len(data):
            self.rest = bytes(data[sent:])
            self.pump.loop.remove_reader(self.source)
            self.pump.loop.add_writer(self.sink, self._guarded, self._write)

    def _write(self) -> None:
        self.rest = self.rest[self.sink.send(self.rest) :]
        self.pump.last = self.pump.loop.time()
        if not self.rest:
            self.pump.loop.remove_writer(self.sink)
            self.start()

    def _over(self) -> None:
        self.ended = True
        if self.left is not None:
            raise ConnectionError("it ended in the middle of its request")
        self.sink.shutdown(socket.SHUT_WR)
        self.pump.over()


class Pump:
    """Joins ``client`` and ``server``. ``spend_out`` and ``spend_in`` are told of the bytes of each direction, and say
    why there may be no more."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: socket.socket,
        server: socket.socket,
        spend_out: Callable[[int], str],
        spend_in: Callable[[int], str],
    ) -> None:
        self.loop = loop
        self.sockets = client, server
        self.out, self.into = _Way(self, client, server, spend_out), _Way(self, server, client, spend_in)
        self.done: asyncio.Future[None] = loop.create_future()
        self.last = loop.time()
        self.answer_ends = False

    async def run(self, body: int | None = None) -> None:
        """Until both sides have ended; with ``body``, a request's bytes that are still to come, until the server has.
        Raises `CutError`."""
        self.out.left, self.answer_ends = body, body is not None
        self.out.start()
        self.into.start()
        try:
            await self.done
        finally:
            self._stop()

    def over(self) -> None:
        """One direction has ended."""
        if self.into.ended and (self.out.ended or self.answer_ends):
            self.end(None)

    def end(self, failure: Exception | None) -> None:
        """Raise this from `run`, or let it return; the first one counts."""
        self._stop()
        if self.done.done():
            return
        if failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(failure)

    def _stop(self) -> None:
        for sock in self.sockets:
            if sock.fileno() >= 0:
                self.loop.remove_reader(sock)
                self.loop.remove_writer(sock)
