"""A layer is read, hashed and decompressed by a second thread, while the first one makes files of it: `Ahead`."""

from __future__ import annotations

import queue
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PIECE = 256 << 10
PIECES = 8  # that wait to be taken


class Ahead:
    """One thread, for one layer after the other. Where no thread may be started, it does without."""

    def __init__(self) -> None:
        self._layers: queue.SimpleQueue[Callable[[int], bytes]] = queue.SimpleQueue()
        self._pieces: queue.Queue[bytes | BaseException] = queue.Queue(PIECES)
        self._alone = False
        self._piece, self._at = b"", 0
        try:
            threading.Thread(target=self._work, daemon=True).start()
        except RuntimeError:  # a bound on processes
            self._alone = True

    def of(self, content: Callable[[int], bytes]) -> Callable[[int], bytes]:
        """``content``, a function that gives at most so many bytes and b"" at the end, read in advance. Its end has to
        be read before the next one's turn."""
        if self._alone:
            return content
        while not self._pieces.empty():
            self._pieces.get()  # the end of the last one
        self._piece, self._at = b"", 0
        self._layers.put(content)
        return self._read

    def _read(self, n: int) -> bytes:
        if self._at >= len(self._piece):
            found = self._pieces.get()
            if isinstance(found, BaseException):
                raise found
            self._piece, self._at = found, 0
            if not found:
                self._pieces.put(b"")  # who asks again is told again
                return b""
        piece = self._piece[self._at : self._at + n]
        self._at += len(piece)
        return piece

    def _work(self) -> None:
        while True:
            content = self._layers.get()
            try:
                while piece := content(PIECE):
                    self._pieces.put(piece)
                self._pieces.put(b"")
            except BaseException as e:
                self._pieces.put(e)
