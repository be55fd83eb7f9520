"""`Process.communicate`: write and read at once, so that no pipe that is full stops either side."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections.abc import Sequence
from typing import Any

from pyjail._base.errors import SpecError
from pyjail._base.records import replace
from pyjail._result.result import Result
from pyjail._spec.commands import Decode
from pyjail._verdict.outcome import decode, part, undecoded

CHUNK = 65536
DAY = 86400.0


class Conversation:
    """What `communicate` has written and read so far. Every count and piece is kept by C alone: interrupted at any
    instant, it goes on where it was."""

    def __init__(self, stdin: Any, outputs: Sequence[Any], decode: Decode | None, given: Any) -> None:
        self.stdin, self.decode = stdin, decode
        self.data = to_bytes(decode, stdin, given)
        self.written: list[int] = []
        self.streams = [None if s is None or s.closed else s for s in outputs]
        self.read: tuple[list[bytes], ...] = ([], [])

    def check(self, given: Any) -> None:
        """SpecError, unless it is no input or the same."""
        if given and to_bytes(self.decode, self.stdin, given) != self.data:
            why = "communicate has begun: what it was given first is still written; give no more"
            raise SpecError("input", "...", why)

    def pieces(self, stream: Any) -> list[bytes]:
        return self.read[self.streams.index(stream)]

    def left(self) -> memoryview:
        return self.data[sum(self.written) :]

    def raw(self) -> tuple[bytes | None, bytes | None]:
        """(stdout, stderr) so far."""
        out, err = (None if s is None else b"".join(r) for s, r in zip(self.streams, self.read, strict=True))
        return out, err

    def so_far(self) -> tuple[Any, Any]:
        """`raw`, to go with an exception."""
        out, err = (f if f is None else part(f, self.decode) for f in self.raw())
        return out, err

    def texts(self) -> tuple[Any, Any]:
        """All of it; as str, where that is asked for."""
        how = self.decode
        out, err = (f if f is None or how is None else decode(f, how, False) for f in self.raw())
        return out, err


def communicate(talk: Conversation, end: float | None) -> bool:
    """Whether all is written and read, by that instant of time.monotonic()."""
    stdin = talk.stdin
    with selectors.DefaultSelector() as selector:
        if stdin is not None and not stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                stdin.flush()
            if talk.left():
                os.set_blocking(stdin.fileno(), False)
                selector.register(stdin, selectors.EVENT_WRITE)
            else:
                _close(stdin)
        for stream in talk.streams:
            if stream is not None and not stream.closed:
                _take_buffered(stream, talk.pieces(stream))
                selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            for key, _ in selector.select(None if left is None else min(left, DAY)):
                if key.fileobj is stdin:
                    if not _write(key.fd, talk):
                        selector.unregister(key.fileobj)
                        _close(stdin)
                elif not _read(key.fd, talk.pieces(key.fileobj)):
                    selector.unregister(key.fileobj)
    return True


def outputs(talk: Conversation, result: Result | Any) -> tuple[Any, Any]:
    """(stdout, stderr) of a program that has ended with this result."""
    try:
        return talk.texts()
    except Exception as e:  # what a codec raises, or an error handler of the caller's
        out, err = talk.raw()
        raise undecoded(replace(result, stdout=out, stderr=err), e) from None


def discard(*streams: Any) -> None:
    """Read all of them to their ends, for nobody."""
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            if stream is not None and not stream.closed:
                selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                if not os.read(key.fd, CHUNK):
                    selector.unregister(key.fileobj)


def to_bytes(decode: Decode | None, stdin: Any, given: Any) -> memoryview:
    """What ``given`` is as bytes for this stdin."""
    if given is None:
        return memoryview(b"")
    if stdin is None:
        raise SpecError("input", given, "stdin is not a pipe of this process")
    if decode is not None and isinstance(given, str):
        try:
            return memoryview(given.encode(decode[0], decode[2]))
        except UnicodeEncodeError as e:
            raise SpecError("input", given, str(e)) from None
    if decode is not None or not isinstance(given, (bytes, bytearray, memoryview)):
        raise SpecError("input", given, "bytes are needed (str with text=True)")
    return memoryview(given)


def _write(fd: int, talk: Conversation) -> bool:
    """Whether there is more to write."""
    with contextlib.suppress(BlockingIOError):
        try:
            talk.written.extend(map(os.write, (fd,), (talk.left(),)))
        except BrokenPipeError:
            return False
    return bool(talk.left())


def _read(fd: int, pieces: list[bytes]) -> bool:
    """Whether there may be more to read."""
    pieces.extend(map(os.read, (fd,), (CHUNK,)))
    return pieces[-1] != b""


def _take_buffered(stream: Any, pieces: list[bytes]) -> None:
    """What the file object has read ahead."""
    binary = getattr(stream, "buffer", stream)
    os.set_blocking(binary.fileno(), False)
    try:
        if binary.peek():
            pieces.extend(map(binary.read1, (-1,)))
    except (BlockingIOError, AttributeError):
        return
    finally:
        os.set_blocking(binary.fileno(), True)


def _close(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.close()
