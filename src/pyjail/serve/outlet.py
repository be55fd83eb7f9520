"""Lines on their way to standard error: `Outlet`. Who writes one never waits for whoever reads them."""

from __future__ import annotations

import atexit
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

MOST = 4 << 20  # bytes that wait to be read by others
_GATHER = 0.025  # seconds in which lines are gathered: one call writes all of them, and wakes whoever reads them once
_LAST = 2.0  # seconds that the last ones have


class Outlet:
    """Writes to ``fd`` from a thread of its own, so that a pipe that is full, a terminal that is stopped or a slow disk
    holds up nobody else. What is more than ``most`` bytes by then, or cannot be written, is dropped: that is counted
    in ``dropped``, and ``told`` makes the line that says so, once there is room again."""

    def __init__(self, fd: int, told: Callable[[int], str], most: int = MOST) -> None:
        self.dropped = 0
        self._fd, self._told, self._most = fd, told, most
        self._lines: deque[bytes] = deque()
        self._size = self._untold = 0
        self._lock = threading.RLock()  # what is collected while a line is taken may have a line to say, too
        self._come = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = False

    def put(self, text: str) -> None:
        """One line, from any thread."""
        line = text.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if self._ended or self._size + len(line) > self._most:
                self._drop(1)
                return
            self._lines.append(line)
            self._size += len(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="pyjail-log", daemon=True)
                self._thread.start()
                atexit.register(self.end)  # also for what is said of a start that failed
        if not self._come.is_set():
            self._come.set()

    def end(self) -> None:
        """What waits is written, if somebody reads it soon; else nothing more is taken."""
        with self._lock:
            self._ended, thread = True, self._thread
        self._come.set()
        if thread is not None:
            thread.join(_LAST)
            atexit.unregister(self.end)
        with self._lock:
            if thread is None or not thread.is_alive():
                self._thread, self._ended = None, False  # whatever comes now begins anew

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._untold += lines

    def _write_all(self) -> None:
        while self._come.wait() and not (self._ended and not self._lines):
            if not self._ended:
                time.sleep(_GATHER)
            self._come.clear()
            with self._lock:
                lines, self._lines = self._lines, deque()
            self._write(lines)
            if self._ended:
                self._come.set()

    def _write(self, lines: deque[bytes]) -> None:
        data = b"".join(lines)
        try:
            _whole(self._fd, data)
        except OSError:  # nobody reads it any more, or the disk is full
            with self._lock:
                self._size -= len(data)
                self._drop(len(lines))
            return
        with self._lock:
            self._size -= len(data)
            untold, self._untold = self._untold, 0
        if untold:
            try:
                _whole(self._fd, self._told(untold).encode() + b"\n")
            except OSError:
                with self._lock:
                    self._untold += untold


def _whole(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:  # whoever shares it has made it so
            waiting = select.poll()
            waiting.register(fd, select.POLLOUT)
            waiting.poll()
