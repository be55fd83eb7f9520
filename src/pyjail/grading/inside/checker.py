"""The checker's side: run the trusted tests against the proxy, and report over an fd that only this jail has.

The job is a file of this jail, in the encoding of `encoding`: a dict with "kind" and what its kind needs. Reports are
messages over stderr, which is moved away before the tests begin: one per case, and one last that tells how it ended.
"""

from __future__ import annotations

import os
import sys

from .encoding import decode, encode
from .frames import NONCE, send, take
from .proxy import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
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


def runner(kind: str) -> Callable[[dict[str, Any], Channel, Reporter], None]:
    """What does a job of this kind; imported when it is needed, for unittest costs as much as all the rest."""
    if kind == "problem":
        from .problem import run
    elif kind == "cases":
        from .cases import run
    else:
        from .files import run
    return run


def main(job: str) -> NoReturn:
    """Do the job in this file of this jail."""
    answers, requests, reporter = take(0), take(1), Reporter(take(2))
    sys.stdout = sys.stderr = reporter
    with open(job, "rb") as f:
        task = decode(f.read())
    try:
        runner(task["kind"])(task, Channel(answers, requests, reporter.finish), reporter)
    except BaseException as e:
        reporter.finish("failed", f"{type(e).__name__}: {e}")
    reporter.finish("passed")
