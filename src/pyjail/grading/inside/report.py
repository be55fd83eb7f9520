"""What the checker says of the check: messages over an fd that only its jail has."""

from __future__ import annotations

import os

from .encoding import encode
from .frames import NONCE, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MOST_DETAIL = 2000  # characters
MOST_OUTPUT = 65536  # characters of what the tests print, the last ones


class Reporter:
    """What this process says of the check, and what the tests printed."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._owner = os.getpid()
        self._printed: list[str] = []
        self._size = 0

    def write(self, text: str) -> int:
        """Of ``sys.stdout`` and ``sys.stderr`` of the tests."""
        self._printed.append(text)
        self._size += len(text)
        if self._size > 2 * MOST_OUTPUT:
            self._printed = ["".join(self._printed)[-MOST_OUTPUT:]]
            self._size = len(self._printed[0])
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return False

    def note(self, word: str, *values: Any) -> None:
        """One report. A process that the tests have forked has no say."""
        if os.getpid() == self._owner:
            send(self._fd, bytes(NONCE), encode((word, *values)))

    def finish(self, status: str, detail: str = "") -> NoReturn:
        """The last report, and the end of this process, whatever the tests would do next."""
        self.note("end", status, detail[:MOST_DETAIL], "".join(self._printed)[-MOST_OUTPUT:])
        os._exit(0)
