"""`Process.communicate`: write and read at once, so that no pipe that is full stops either side."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from typing import TYPE_CHECKING, Any

from pyjail._command import Decode
from pyjail._errors import SpecError
from pyjail._outcome import decode, part, undecoded
from pyjail._records import replace
from pyjail._subprocess_errors import TimeoutExpired

if TYPE_CHECKING:
    from pyjail._process import Process

CHUNK = 65536
DAY = 86400.0


class Conversation:
    """What `communicate` has written and read so far. Every count and piece is kept by C alone: interrupted at any
    instant, it goes on where it was."""

    def __init__(self, process: Process, data: memoryview) -> None:
        self.data, self.decode = data, process._command.decode
        self.written: list[int] = []
        self.streams = [None if s is None or s.closed else s for s in (process.stdout, process.stderr)]
        self.read: tuple[list[bytes], ...] = ([], [])

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


def communicate(process: Process, given: Any, timeout: float | None) -> tuple[Any, Any]:
    """See `Process.communicate`."""
    end = None if timeout is None else time.monotonic() + timeout
    talk = process._conversation
    if talk is None:
        talk = Conversation(process, to_bytes(process._command.decode, process.stdin, given))
        process._conversation = talk
    elif given and to_bytes(process._command.decode, process.stdin, given) != talk.data:
        raise SpecError("input", "...", "communicate has begun: what it was given first is still written; give no more")
    with selectors.DefaultSelector() as selector:
        if process.stdin is not None and not process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.flush()
            if talk.left():
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE)
            else:
                _close(process.stdin)
        for stream in talk.streams:
            if stream is not None and not stream.closed:
                _take_buffered(stream, talk.pieces(stream))
                selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutExpired(process.args, timeout or 0.0, *talk.so_far())
            for key, _ in selector.select(None if left is None else min(left, DAY)):
                if key.fileobj is process.stdin:
                    if not _write(key.fd, talk):
                        selector.unregister(key.fileobj)
                        _close(process.stdin)
                elif not _read(key.fd, talk.pieces(key.fileobj)):
                    selector.unregister(key.fileobj)
    try:
        process.wait(None if end is None else max(0.0, end - time.monotonic()))
    except TimeoutExpired:
        raise TimeoutExpired(process.args, timeout or 0.0, *talk.so_far()) from None
    process.close()
    try:
        return talk.texts()
    except Exception as e:  # what a codec raises, or an error handler of the caller's
        assert process.result is not None
        out, err = talk.raw()
        raise undecoded(replace(process.result, stdout=out, stderr=err), e) from None


def discard(process: Process) -> None:
    """Let it end by itself: what it writes goes nowhere."""
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            if stream is not None and not stream.closed:
                selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                if not os.read(key.fd, CHUNK):
                    selector.unregister(key.fileobj)
    process.wait()


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
