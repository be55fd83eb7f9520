"""The channel: cells come in, what they give goes out. It is a socket, moved away from 0 before a cell runs.

In: one byte of what to do, sixteen of a nonce, four of length, the payload. Out: four bytes of length, the nonce of the
cell that runs, a flat JSON object.
"""

from __future__ import annotations

import _signal
import os
from _thread import allocate_lock, get_ident

try:
    from _json import encode_basestring_ascii as quoted
except ImportError:  # another Python than CPython
    from json.encoder import py_encode_basestring_ascii as quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NONCE = 16
CLOSED = 76  # the exit code of a process whose channel a cell has closed


class Channel:
    """Ours of the two ends. A forked child has none: its words are nobody's."""

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd)  # not inherited by programs
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, fd)
        os.close(null)
        self.nonce = b""
        self.ours = True
        self.interrupted = False  # by a signal that came while a message was being written
        self._lock = allocate_lock()
        self._main = get_ident()
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.ours = False
        try:  # noqa: SIM105 -- contextlib would be imported for this only
            os.close(self.fd)
        except OSError:
            pass

    def receive(self) -> tuple[bytes, bytes]:
        """(what to do, payload). The process ends when the other end is closed."""
        head = self._exactly(5 + NONCE)
        self.nonce = head[1 : 1 + NONCE]
        return head[:1], self._exactly(int.from_bytes(head[1 + NONCE :], "big"))

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = os.read(self.fd, min(size, 1 << 16))
            except OSError:
                os._exit(CLOSED)
            if not part:
                os._exit(0)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def send(self, message: dict[str, Any]) -> None:
        """Write one message, whole: an interrupt that comes meanwhile is handled behind it."""
        if not self.ours:
            return
        payload = written(message).encode("ascii")
        data = memoryview(len(payload).to_bytes(4, "big") + self.nonce + payload)
        main = get_ident() == self._main
        with self._lock:
            before = _signal.signal(_signal.SIGINT, self._note) if main else None
            try:
                while data:
                    data = data[os.write(self.fd, data) :]
            except OSError:
                os._exit(CLOSED)
            finally:
                if main:
                    _signal.signal(_signal.SIGINT, before)
        if main and self.interrupted:
            self.interrupted = False
            if callable(before):
                before(_signal.SIGINT, None)

    def _note(self, number: int, frame: object) -> None:
        self.interrupted = True


def written(value: Any) -> str:
    """As JSON: of texts, numbers, None, lists and objects, which is all that a message has."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "{" + ",".join([quoted(key) + ":" + written(inner) for key, inner in value.items()]) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([written(inner) for inner in value]) + "]"
    return "null" if value is None else "true" if value is True else "false" if value is False else str(int(value))
