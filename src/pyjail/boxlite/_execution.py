"""A program of a box whose streams are live: `Execution`."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
from typing import Any

from pyjail.boxlite import _results as results
from pyjail.boxlite._errors import InvalidStateError, ResourceExhaustedError, UnsupportedError, ours

CHUNK = 1 << 16
MOST_AHEAD = 10 << 20  # bytes of a stream that are kept for a reader who waits for the end first


class ExecStdin:
    """Writes what a program reads."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    async def send_input(self, data: bytes | str) -> None:
        """Write it; text as UTF-8. A program that reads no more is no error."""
        with contextlib.suppress(BrokenPipeError):
            self._writer.write(data.encode() if isinstance(data, str) else data)
            await self._writer.drain()

    async def close(self) -> None:
        """The program sees the end of its input."""
        await self._writer.close()


class ExecStdout:
    """What a program writes, for ``async for``: text, line by line with the newline; of a terminal as it comes."""

    def __init__(self, reader: Any, by_line: bool = True) -> None:
        self._reader, self._by_line = reader, by_line
        self._lock = asyncio.Lock()
        self._buffer = bytearray()
        self._at = 0  # so much of it is taken
        self._seen = 0  # so much of it has no newline
        self._ended = False
        self._pieces = 0  # that were read so far
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __aiter__(self) -> ExecStdout:
        return self

    async def __anext__(self) -> str:
        while True:
            while (found := self._take()) is None:
                await self._more(self._pieces)
            text = self._decoder.decode(found, not found)  # a character may come in two pieces
            if text:
                return text
            if not found:
                raise StopAsyncIteration

    @property
    def _size(self) -> int:
        return len(self._buffer) - self._at

    def _take(self) -> bytes | None:
        """The next of it; empty at the end; None: not there yet."""
        end = self._buffer.find(b"\n", self._seen) + 1 if self._by_line else len(self._buffer)
        if end <= self._at:
            self._seen = len(self._buffer)
            if not self._ended and self._size <= MOST_AHEAD:
                return None
            end = len(self._buffer)
        taken = bytes(memoryview(self._buffer)[self._at : end])
        self._at = self._seen = end
        if self._at > len(self._buffer) // 2:
            del self._buffer[: self._at]
            self._at = self._seen = 0
        return taken

    async def _more(self, known: int) -> None:
        """Read a piece, unless another task has read one since the caller knew of ``known``."""
        async with self._lock:
            if self._ended or self._pieces > known:
                return
            data = await self._reader.read(CHUNK)
            self._ended = not data
            self._pieces += 1
            self._buffer += data

    async def drain(self) -> None:
        """Read up to the end, so that the program can go on. ResourceExhaustedError for what nobody will read."""
        while not self._ended:
            await self._more(self._pieces)
            if self._size > MOST_AHEAD:
                raise ResourceExhaustedError(f"more than {MOST_AHEAD} bytes of output: read them while it runs")


ExecStderr = ExecStdout


class Execution:
    """A program that runs in a box. Leave it alone and it runs until its limits or its box end it."""

    def __init__(self, process: Any, command: str, number: str, terminal: bool) -> None:
        self._process, self._command, self._id, self._terminal = process, command, number, terminal
        self._stdout = ExecStdout(process.stdout, not terminal)
        self._stderr = None if process.stderr is None else ExecStdout(process.stderr)
        self._stdin: ExecStdin | None = None

    def id(self) -> str:
        """Its name among those of the box."""
        return self._id

    def stdin(self) -> ExecStdin:
        """What it reads from. Who asks for it has to close it."""
        if self._stdin is None:
            self._stdin = ExecStdin(self._process.stdin)
        return self._stdin

    def stdout(self) -> ExecStdout:
        """What it writes; of a terminal all that is seen there."""
        return self._stdout

    def stderr(self) -> ExecStdout | None:
        """What it writes to stderr; None with a terminal."""
        return self._stderr

    async def wait(self) -> results.ExecResult:
        """Wait for its end: how it was. ``stdout`` and ``stderr`` of it are empty: the streams have that.

        Raises:
            TimeoutError, ResourceExhaustedError, InternalError, ExecutionError: as `SimpleBox.exec`.
        """
        if self._stdin is None and not self._terminal:
            await self._process.stdin.close()
        streams = [self._stdout] if self._stderr is None else [self._stdout, self._stderr]
        try:
            with ours():
                await asyncio.gather(*(stream.drain() for stream in streams))
                await self._process.wait()
        except ResourceExhaustedError:
            await self.kill()
            raise
        self._process.close()
        return results.told(self._process.result, self._command)

    async def end(self) -> None:
        """End it, and close its streams: what was not read of them is lost."""
        await self.kill()
        self._process.close()

    async def kill(self) -> None:
        """End it and what it has started; returns when it is gone."""
        self._process.kill()
        with contextlib.suppress(Exception):
            await self._process.wait()

    async def signal(self, signal: int) -> None:
        """Send a signal to its main process."""
        if self._process.poll() is not None:
            raise InvalidStateError(f"{self._command!r} has ended")
        with ours():
            self._process.send_signal(signal)

    async def resize_tty(self, rows: int, cols: int) -> None:
        """Change the window of its terminal. UnsupportedError without one: exec(tty=True)."""
        if not self._terminal:
            raise UnsupportedError("this program has no terminal: exec(..., tty=True)")
        with ours():
            self._process.resize(rows, cols)
