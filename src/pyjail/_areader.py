"""What a program writes, read by an event loop."""

from __future__ import annotations

import asyncio
import codecs
import io
import os
from collections.abc import Awaitable
from typing import Any

from pyjail._awriter import CHUNK, Decode, Done, close_watched
from pyjail._loops import Loop, current

LONGEST_LINE = 1 << 20


class AsyncReader:
    """What a program writes: bytes, or str with ``text=True``. One task may read at a time.

    Attributes:
        limit: bytes or characters that a line may have; default 1 MiB. A program decides how long its lines are.

    >>> import asyncio, pyjail
    >>> async def main():
    ...     async with await pyjail.aio.start(["printf", "1\\n2\\n"]) as p:
    ...         return [line async for line in p.stdout]
    >>> asyncio.run(main())
    [b'1\\n', b'2\\n']
    """

    def __init__(self, fd: int, decode: Decode) -> None:
        self.fd = fd
        self.limit = LONGEST_LINE
        os.set_blocking(fd, False)
        self._decoder: Any = None
        self._left: Any = b""  # read, and not yet asked for
        if decode is not None:
            decoder = codecs.getincrementaldecoder(decode[0])(decode[1])
            self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
            self._left = ""
        self._newline: Any = b"\n" if decode is None else "\n"
        self._ended = False
        self._watcher: Loop | None = None  # of the task that reads

    @property
    def closed(self) -> bool:
        """Whether it was closed from here."""
        return self.fd < 0

    def at_eof(self) -> bool:
        """Whether all has been read, and no more will come."""
        return self._ended and not self._left

    async def read(self, n: int = -1) -> Any:
        """Up to n, one at least, as soon as there is any; everything up to the end when n is negative.

        Empty at the end. Raises ValueError when this is closed, RuntimeError while another task reads.
        """
        if n == 0:
            return self.empty
        if n < 0:
            pieces = []
            try:
                while piece := await self.read(CHUNK):
                    pieces.append(piece)
            except BaseException:  # cancelled: it stays to be read
                self.put_back(self.empty.join(pieces))
                raise
            return self.empty.join(pieces)
        while not self._left and await self._more():
            pass
        return self._take(n)

    async def readline(self) -> Any:
        """One line, its newline included; what is left without one at the end, and then empty.

        Raises ValueError for a line longer than ``limit``; what was read of it stays to be read.
        """
        seen = 0
        while (at := self._left.find(self._newline, seen)) < 0:
            seen = len(self._left)
            if seen > self.limit:
                raise ValueError(f"the program wrote a line longer than {self.limit} (AsyncReader.limit)")
            if not await self._more():
                return self._take(seen)
        return self._take(at + 1)

    async def readexactly(self, n: int) -> Any:
        """Exactly n. Raises asyncio.IncompleteReadError, an EOFError, when the end comes before; it has the rest."""
        if n < 0:
            raise ValueError("a number from 0 is needed")
        while len(self._left) < n:
            if not await self._more():
                raise asyncio.IncompleteReadError(self._take(n), n)
        return self._take(n)

    def __aiter__(self) -> AsyncReader:
        return self

    async def __anext__(self) -> Any:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    def close(self) -> Awaitable[None]:
        """Close our end: the program gets SIGPIPE when it writes. A task that reads sees the end."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            close_watched(fd, self._watcher)
        self._ended = True
        return Done()

    def __del__(self) -> None:
        fd, self.fd = getattr(self, "fd", -1), -1
        if fd >= 0:
            os.close(fd)

    @property
    def busy(self) -> bool:
        """Whether a task reads now."""
        return self._watcher is not None

    @property
    def empty(self) -> Any:
        """b"" or ''."""
        return self._newline[:0]

    @property
    def waiting(self) -> Any:
        """What was read from the pipe and not yet from here."""
        return self._left

    def put_back(self, data: Any) -> None:
        """The next read has this first."""
        self._left = data + self._left

    def _take(self, n: int) -> Any:
        taken, self._left = self._left[:n], self._left[n:]
        return taken

    async def _more(self) -> bool:
        """Read what is there, or wait for it. False: this is the end."""
        if self._ended:
            return False
        if self._watcher is not None:
            raise RuntimeError("another task reads from this stream")
        self._watcher = current()
        try:
            while self.fd >= 0:
                try:
                    data = os.read(self.fd, CHUNK)
                except BlockingIOError:
                    await self._watcher.readable(self.fd)
                    continue
                except OSError:  # EIO: a terminal that nobody has open any more
                    data = b""
                self._ended = not data
                self._left += data if self._decoder is None else self._decoder.decode(data, self._ended)
                return bool(data)
        finally:
            self._watcher = None
        return False
