"""What a program writes, read by an event loop."""

from __future__ import annotations

import asyncio
import codecs
import errno
import io
import os
from collections import deque
from collections.abc import Awaitable
from typing import Any

from pyjail._base.fds import Fd
from pyjail._base.loops import Loop, current
from pyjail._verdict.outcome import part
from pyjail.aio._writer import (
    CHUNK,
    Decode,
    Done,
    close_watched,
)

LONGEST_LINE = 1 << 20


class _Pieces:
    """What was read and not yet asked for, in the pieces in which it came: each byte is joined once, when it is taken,
    and looked at once for the end of a line."""

    def __init__(self, empty: Any) -> None:
        self.empty = empty
        self.pieces: deque[Any] = deque()
        self.at = 0  # of the first piece, so much is taken
        self.size = 0
        self.searched, self.before = 0, 0  # pieces that have no newline; what they come to

    def add(self, data: Any) -> None:
        if data:
            self.pieces.append(data)
            self.size += len(data)

    def put_back(self, data: Any) -> None:
        if data:
            if self.at:
                self.pieces[0] = self.pieces[0][self.at :]
            self.pieces.appendleft(data)
            self.at = self.searched = self.before = 0
            self.size += len(data)

    def take(self, n: int) -> Any:
        """Up to n of it."""
        found = []
        left = n = min(n, self.size)
        while left:
            part = self.pieces[0][self.at : self.at + left]
            self.at += len(part)
            left -= len(part)
            if self.at == len(self.pieces[0]):
                self.pieces.popleft()
                self.at = 0
            found.append(part)
        self.size -= n
        self.searched = self.before = 0
        return found[0] if len(found) == 1 else self.empty.join(found)

    def find(self, newline: Any) -> int:
        """Where the first one is, or -1."""
        for i in range(self.searched, len(self.pieces)):
            start = 0 if i else self.at
            found = self.pieces[i].find(newline, start)
            if found >= 0:
                return self.before + int(found) - start
            self.searched = i + 1
            self.before += len(self.pieces[i]) - start
        return -1

    def all(self) -> Any:
        """All of it; it stays."""
        whole = self.take(self.size)
        self.put_back(whole)
        return whole


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

    def __init__(self, fd: Fd, decode: Decode) -> None:
        self._own = fd
        self.fd = fd.number
        self.limit = LONGEST_LINE
        os.set_blocking(self.fd, False)
        self._decoder: Any = None
        if decode is not None:
            decoder = codecs.getincrementaldecoder(decode[0])(decode[1])
            self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self._newline: Any = b"\n" if decode is None else "\n"
        self._how, self._encoding = decode, "" if decode is None else decode[0]
        self._left = _Pieces(self._newline[:0])
        self.undecodable: Exception | None = None  # why the bytes in `_raw` are no text; what comes after is read raw
        self._raw: list[bytes] = []
        self._ended = False
        self._watcher: Loop | None = None  # of the task that reads

    def __repr__(self) -> str:
        return f"<AsyncReader: {'closed' if self.closed else 'at its end' if self.at_eof() else 'open'}>"

    @property
    def closed(self) -> bool:
        """Whether it was closed from here."""
        return self.fd < 0

    def at_eof(self) -> bool:
        """Whether all has been read, and no more will come."""
        return self._ended and not self._left.size and not self._raw

    async def read(self, n: int = -1) -> Any:
        """Up to n, one at least, as soon as there is any; everything up to the end when n is negative.

        Empty at the end, and when this is closed. Raises RuntimeError while another task reads. With
        ``errors="strict"`` UnicodeDecodeError, here and in the other methods, each time: what is no text stays unread.
        """
        if n == 0:
            return self.empty
        if n < 0:  # nothing is taken before the end: cancelled, all of it stays to be read
            while await self._more():
                pass
            return self._left.take(self._left.size)
        while not self._left.size and await self._more():
            pass
        return self._left.take(n)

    async def readline(self) -> Any:
        """One line, its newline included; what is left without one at the end, and then empty.

        Raises ValueError for a line longer than ``limit``; what was read of it stays to be read.
        """
        while (at := self._left.find(self._newline)) < 0:
            if self._left.size > self.limit:
                raise ValueError(f"the program wrote a line longer than {self.limit} (AsyncReader.limit)")
            if not await self._more():
                return self._left.take(self._left.size)
        return self._left.take(at + 1)

    async def readexactly(self, n: int) -> Any:
        """Exactly n. Raises asyncio.IncompleteReadError, an EOFError, when the end comes before; it has the rest."""
        if n < 0:
            raise ValueError("a number from 0 is needed")
        while self._left.size < n:
            if not await self._more():
                raise asyncio.IncompleteReadError(self._left.take(n), n)
        return self._left.take(n)

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
            self.fd = -1
            close_watched(self._own, self._watcher)
        self._ended = True
        return Done()

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
        whole = self._left.all()
        return whole + part(b"".join(self._raw), self._how) if self._raw else whole

    async def rest(self) -> bytes:
        """All that nobody has read, as bytes, when some of it is `undecodable`. It stays to be read."""
        self._raw.insert(0, self.encoded(self._left.take(self._left.size)))
        while data := await self.raw():
            self._raw.append(data)
        return b"".join(self._raw)

    def encoded(self, text: Any) -> bytes:
        """What was decoded here, as bytes."""
        if self._decoder is None:
            return bytes(text)
        try:
            return bytes(text.encode(self._encoding, "replace"))
        except UnicodeError:  # a codec that takes no "replace"
            return bytes(text.encode("utf-8", "replace"))

    def put_back(self, data: Any) -> None:
        """The next read has this first."""
        self._left.put_back(data)

    async def _more(self) -> bool:
        """Read what is there, or wait for it. False: this is the end."""
        if self.undecodable is None:
            if self._ended:
                return False
            data = await self.raw()
            if self._decoder is None:
                self._left.add(data)
                return bool(data)
            try:
                self._left.add(self._decoder.decode(data, self._ended))
            except Exception as e:  # what a codec raises, or an error handler of the caller's
                self.undecodable = e
                self._raw.append(self._decoder.getstate()[0] + data)
            else:
                return bool(data)
        raise self.undecodable.with_traceback(None)

    async def raw(self) -> bytes:
        """The next bytes from the pipe; empty at the end. Whoever calls this takes them out of what is read as text."""
        if self._ended:
            return b""
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
                except OSError as e:
                    if e.errno != errno.EIO:  # of a terminal that nobody has open any more
                        raise
                    data = b""
                self._ended = not data
                return data
        finally:
            self._watcher = None
        return b""
