"""One line on a terminal about work that takes a while; nothing at all elsewhere."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from types import TracebackType
from typing import IO

from pyjail.cli.ending import printable

QUIET_S = 0.5  # what is done sooner is not worth a line
_ERASE = "\r\x1b[K"


class StepLine:
    """``with StepLine(sys.stderr, "[2/5] gcc x.c"): ...`` shows the text and the seconds so far, and then wipes them.

    Only where the stream is a terminal (and TERM is not "dumb"), and only from half a second on.

    >>> import io
    >>> with StepLine(io.StringIO(), "work") as line:
    ...     line.shown
    False
    """

    def __init__(self, stream: IO[str] | None, text: str) -> None:
        self.shown = False
        self._stream = stream
        self._text = printable(text)
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> StepLine:
        if self._stream is not None and self._stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb"):
            self._thread = threading.Thread(target=self._show, args=(time.monotonic(),), daemon=True)
            self._thread.start()
        return self

    def _show(self, since: float) -> None:
        assert self._stream is not None
        width = 80
        with contextlib.suppress(OSError, ValueError):  # closed, or no terminal any more
            width = os.get_terminal_size(self._stream.fileno()).columns or width
            while not self._end.wait(QUIET_S):
                self.shown = True
                tail = f" {time.monotonic() - since:.0f} s"
                self._stream.write(_ERASE + self._text[: max(0, width - len(tail) - 1)] + tail)
                self._stream.flush()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._thread is None:
            return
        self._end.set()
        self._thread.join()
        if self.shown and self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(_ERASE)
                self._stream.flush()
