"""`Process.communicate`: write and read at once, so that no pipe that is full stops either side."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from typing import TYPE_CHECKING, Any

from pyjail._errors import SpecError
from pyjail._frozen import replace
from pyjail._outcome import undecoded
from pyjail._request import Decode
from pyjail._subprocess_errors import TimeoutExpired

if TYPE_CHECKING:
    from pyjail._process import Process

CHUNK = 65536


def communicate(process: Process, given: Any, timeout: float | None) -> tuple[Any, Any]:
    """See `Process.communicate`."""
    decode = process._request.decode
    data = to_bytes(decode, process.stdin, given)
    end = None if timeout is None else time.monotonic() + timeout
    read: dict[int, bytearray] = {}
    fds: list[int | None] = [None, None]
    with selectors.DefaultSelector() as selector:
        if process.stdin is not None and not process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.flush()
            if data:
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE)
            else:
                _close(process.stdin)
        for i, stream in enumerate((process.stdout, process.stderr)):
            if stream is not None and not stream.closed:
                fds[i] = stream.fileno()
                read[stream.fileno()] = bytearray(_buffered(stream))
                selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutExpired(process.args, timeout or 0.0, *_texts(fds, read, decode, cut=True))
            for key, _ in selector.select(left):
                if key.fileobj is process.stdin:
                    data = _write(key.fd, data)
                    if not data:
                        selector.unregister(key.fileobj)
                        _close(process.stdin)
                elif chunk := os.read(key.fd, CHUNK):
                    read[key.fd] += chunk
                else:
                    selector.unregister(key.fileobj)
    process.wait(None if end is None else max(0.0, end - time.monotonic()))
    process.close()
    try:
        return _texts(fds, read, decode, cut=False)
    except Exception as e:  # what a codec raises, or an error handler of the caller's
        assert process.result is not None
        out, err = _texts(fds, read, None, cut=False)
        raise undecoded(replace(process.result, stdout=out, stderr=err), e) from None


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


def _write(fd: int, data: memoryview) -> memoryview:
    try:
        return data[os.write(fd, data) :]
    except BrokenPipeError:
        return memoryview(b"")
    except BlockingIOError:
        return data


def _buffered(stream: Any) -> bytes:
    """What the file object has read ahead."""
    binary = getattr(stream, "buffer", stream)
    os.set_blocking(binary.fileno(), False)
    try:
        return binary.read1() or b"" if binary.peek() else b""
    except (BlockingIOError, AttributeError):
        return b""
    finally:
        os.set_blocking(binary.fileno(), True)


def _close(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.close()


def _texts(fds: list[int | None], read: dict[int, bytearray], decode: Any, cut: bool) -> tuple[Any, Any]:
    found: list[Any] = [None if fd is None else bytes(read[fd]) for fd in fds]
    if decode is not None:
        encoding, errors, _ = decode
        mode = "replace" if cut else errors
        found = [f if f is None else f.decode(encoding, mode).replace("\r\n", "\n").replace("\r", "\n") for f in found]
    return found[0], found[1]
