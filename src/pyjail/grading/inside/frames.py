"""Messages over a pipe: four bytes of length, sixteen of a nonce that only the question tells, the encoded value."""

from __future__ import annotations

import os
import struct

from .encoding import MOST_BYTES, Malformed  # relative: in a jail this package has another name

NONCE = 16
_LENGTH = struct.Struct(">I")


class Gone(Exception):
    """The other end is closed."""


def take(fd: int) -> int:
    """A copy of a standard fd for ourselves; what is written to, or read from, the number itself is lost."""
    kept = os.dup(fd)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, fd)
    os.close(null)
    return kept


def send(fd: int, nonce: bytes, payload: bytes) -> None:
    """Write one message, however long it takes. Raises `Gone`."""
    data = memoryview(_LENGTH.pack(len(payload)) + nonce + payload)
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BrokenPipeError:
            raise Gone from None


def receive(fd: int) -> tuple[bytes, bytes]:
    """(nonce, payload) of the next message. Raises `Gone`, also in mid-message; `Malformed` when it is too long."""
    (size,) = _LENGTH.unpack(_exactly(fd, _LENGTH.size))
    if size > MOST_BYTES:
        raise Malformed(f"a message of {size} bytes")
    return _exactly(fd, NONCE), _exactly(fd, size)


def _exactly(fd: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.read(fd, min(size, 1 << 16))
        if not part:
            raise Gone
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
