"""What a program reads, written by an event loop."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Generator
from typing import Any

from pyjail._base.errors import SpecError
from pyjail._base.fds import Fd
from pyjail._base.loops import Loop, current

CHUNK = 1 << 16
Decode = tuple[str, str, str] | None


class Done:
    """Awaitable, and already done."""

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


class AsyncWriter:
    """What a program reads: `write`, then `drain`. Bytes, or str with ``text=True``.

    >>> import asyncio, pyjail
    >>> async def main():
    ...     async with await pyjail.aio.start(["cat"]) as p:
    ...         p.stdin.write(b"hello")
    ...         await p.stdin.close()
    ...         return await p.stdout.read()
    >>> asyncio.run(main())
    b'hello'
    """

    def __init__(self, fd: Fd, decode: Decode) -> None:
        self._own = fd
        self.fd = fd.number
        os.set_blocking(self.fd, False)
        self._decode = decode
        self._waiting = bytearray()
        self._broken: OSError | None = None
        self._watcher: Loop | None = None  # of the task that drains this
        self._closing = False

    def __repr__(self) -> str:
        return f"<AsyncWriter: {'closed' if self.closed else 'open'}, {len(self._waiting)} bytes waiting>"

    @property
    def closed(self) -> bool:
        """Whether it was closed, be it that something is still to be written."""
        return self.fd < 0 or self._closing

    def write(self, data: Any) -> None:
        """Write what the pipe takes now, and keep the rest for `drain`.

        Raises ValueError when it is closed, SpecError for something else than bytes (str with ``text=True``). That the
        reader is gone is raised by `drain`.
        """
        if self.closed:
            raise ValueError("this stream is closed")
        self.put(self._bytes(data))

    def put(self, data: Any) -> None:
        """Write bytes, as `write` does, also where that takes str."""
        self._waiting += data
        if self._watcher is None:
            self._step()

    @property
    def busy(self) -> bool:
        """Whether a task drains this now."""
        return self._watcher is not None

    async def drain(self) -> None:
        """Wait until all is written. Raises BrokenPipeError when the program reads no more."""
        while self._waiting and self.fd >= 0:
            if self._watcher is not None:
                raise RuntimeError("another task drains this stream")
            self._watcher = current()
            try:
                await self._watcher.writable(self.fd)
            finally:
                self._watcher = None
            self._step()
        if self._broken is not None:
            error, self._broken = self._broken, None
            raise error

    def close(self) -> Awaitable[None]:
        """Close it when all is written: the program sees the end. May be awaited for that, and need not be."""
        if not self.closed:
            self._closing = True
            if self._waiting and self._watcher is not None:
                return Done()  # `drain` is at it
            if self._waiting:
                flag = current().flag()
                current().background(lambda: self._finish(flag))
                return _Flagged(flag)
            self._shut()
        return Done()

    def abort(self) -> None:
        """Close it now; what is not written is lost."""
        self._closing = True
        self._waiting.clear()
        self._shut()

    async def _finish(self, flag: Any) -> None:
        try:
            await self.drain()
        except OSError:
            pass
        finally:
            self._shut()
            flag.set()

    def _shut(self) -> None:
        if self.fd >= 0:
            self.fd = -1
            close_watched(self._own, self._watcher)

    def _bytes(self, data: Any) -> Any:
        if self._decode is not None and isinstance(data, str):
            return data.encode(self._decode[0], self._decode[2])
        if self._decode is not None or not isinstance(data, (bytes, bytearray, memoryview)):
            raise SpecError("data", data, "bytes are needed (str with text=True)")
        return data

    def _step(self) -> None:
        try:
            while self._waiting and self.fd >= 0:
                n = os.write(self.fd, memoryview(self._waiting)[:CHUNK])
                del self._waiting[:n]
        except BlockingIOError:
            return
        except OSError as e:
            self._broken = e
            self._waiting = bytearray()
        if self._closing and not self._waiting:
            self._shut()


class _Flagged:
    """Awaitable: until the flag is set."""

    def __init__(self, flag: Any) -> None:
        self.flag = flag

    def __await__(self) -> Generator[Any, Any, None]:
        yield from current().wait(self.flag).__await__()


def close_watched(fd: Fd, watcher: Loop | None) -> None:
    """Close an fd that a task may wait for: it is woken."""
    if watcher is not None:
        with contextlib.suppress(RuntimeError, KeyError):  # the loop is gone; the wait has just ended
            watcher.closing(fd.number)
    fd.close()
