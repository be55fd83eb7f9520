"""Two connected sockets, joined: what one sends the other gets, each byte counted, in constant memory."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from collections.abc import Callable

# One for all, for there is one thread: what cannot be sent at once is kept by its direction alone.
_BUFFER = memoryview(bytearray(1 << 17))
MOST_KEPT = 1 << 28  # bytes of all directions; then they read little at a time
_LITTLE = 1 << 12
_BULK = 1 << 19  # bytes after which a direction is worth a pipe, through which the kernel moves pages without a copy
_PIPE = 1 << 20  # bytes
_MOVE = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)
_TURNS = 4  # of one direction, while it has that much: then others have theirs
_TCP_CLOSE = 7  # a state of tcp(7)
MOST_PIPES = 32  # users may have few pages of pipes


class CutError(Exception):
    """A connection that was ended by a bound, or that its peer broke: why."""


class _Pipe:
    """For one direction of one connection: never another's, so that no byte of one reaches another."""

    alive = 0

    def __init__(self) -> None:
        self.out, self.into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _Pipe.alive += 1
        with contextlib.suppress(OSError):  # else it holds less at a time
            fcntl.fcntl(self.into, fcntl.F_SETPIPE_SZ, _PIPE)

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)
        _Pipe.alive -= 1


class _Way:
    """One direction."""

    kept = 0  # bytes of all of them that cannot be sent yet

    def __init__(self, pump: Pump, source: socket.socket, sink: socket.socket, spend: Callable[[int], str]) -> None:
        self.pump, self.source, self.sink, self.spend = pump, source, sink, spend
        # Numbers: the loop shows what it does not know in errors that it drops, and a socket shows its addresses.
        self.source_fd, self.sink_fd = source.fileno(), sink.fileno()
        self.rest = b""
        self.pipe: _Pipe | None = None
        self.held = 0  # bytes in it
        self.passed = 0
        self.left: int | None = None  # bytes that are passed on, and no more are read
        self.ended = False

    def start(self) -> None:
        if self.left != 0:
            self.pump.loop.add_reader(self.source_fd, self._guarded, self._read)

    def close(self) -> None:
        self._keep(b"")
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None

    def _keep(self, rest: bytes) -> None:
        _Way.kept += len(rest) - len(self.rest)
        self.rest = rest

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, MemoryError) as e:
            # Who has all that he wants may close with a reset, as many clients of TLS do: that is his end, no failure.
            self.pump.end(None if self.pump.left() else CutError(f"the connection broke: {e}"))

    def _read(self) -> None:
        for _ in range(_TURNS):
            if not self._step():
                return

    def _step(self) -> bool:
        """Whether there may be more at once: as much came as there was place for, and all of it could be sent."""
        if self.pipe is None:
            most = len(_BUFFER) if _Way.kept < MOST_KEPT else _LITTLE
            most = most if self.left is None else min(most, self.left)
            count = self.source.recv_into(_BUFFER[:most])
        else:
            most = _PIPE if self.left is None else min(_PIPE, self.left)
            count = self.held = os.splice(self.source_fd, self.pipe.into, most, flags=_MOVE)
        self.pump.last = self.pump.loop.time()
        if not count:
            self.pump.loop.remove_reader(self.source_fd)
            self._over()
            return False
        if why := self.spend(count):
            self.pump.end(CutError(why))
            return False
        if self.left is not None:
            self.left -= count
            if not self.left:
                self.pump.loop.remove_reader(self.source_fd)
        if self.pipe is None:
            self._send(_BUFFER[:count])
        else:
            self._move()
        self.passed += count
        if self.passed > _BULK and self.pipe is None and not self.rest and _Pipe.alive < MOST_PIPES:
            with contextlib.suppress(OSError):  # for want of fds: then it is copied
                self.pipe = _Pipe()
        return count == most and not self.rest and not self.held and self.left != 0

    def _send(self, data: memoryview) -> None:
        sent = 0
        with contextlib.suppress(BlockingIOError, InterruptedError):
            sent = self.sink.send(data) if data else 0
        if sent < len(data):
            self._keep(bytes(data[sent:]))
            self._wait()

    def _move(self) -> None:
        assert self.pipe is not None
        with contextlib.suppress(BlockingIOError, InterruptedError):
            self.held -= os.splice(self.pipe.out, self.sink_fd, self.held, flags=_MOVE)
        if self.held:
            self._wait()

    def _wait(self) -> None:
        """For the sink, until it has taken what is here."""
        self.pump.loop.remove_reader(self.source_fd)
        self.pump.loop.add_writer(self.sink_fd, self._guarded, self._write)

    def _write(self) -> None:
        if self.pipe is None:
            self._keep(self.rest[self.sink.send(self.rest) :])
        else:
            self.held -= os.splice(self.pipe.out, self.sink_fd, self.held, flags=_MOVE)
        self.pump.last = self.pump.loop.time()
        if not self.rest and not self.held:
            self.pump.loop.remove_writer(self.sink_fd)
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

    def left(self) -> bool:
        """Whether it is the client that has closed both directions."""
        client, _ = self.sockets
        with contextlib.suppress(OSError):
            return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
        return False

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
            if (number := sock.fileno()) >= 0:
                self.loop.remove_reader(number)
                self.loop.remove_writer(number)
        self.out.close()
        self.into.close()
