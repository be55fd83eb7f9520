"""`Terminal`: a terminal of the caller's, for a program to have."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import termios
from types import TracebackType
from typing import Any

from pyjail._base.errors import SpecError

TIOCGEXCL = 0x80045440  # not in Python's termios


class Terminal:
    """A terminal of yours that a program may have as stdin, stdout or stderr; its block puts the settings back.

    However a terminal was opened, who has it can set it: a program reads what is typed there, switches echo and ^C off,
    and leaves it so. `run` and all its like therefore refuse a terminal that is not handed over by this name. `start`
    with ``pty=`` makes the program one of its own, which grants nothing.

    Args:
        file: the terminal: a file, or an fd. It stays the caller's to close.

    Raises: SpecError: it is no terminal.

    >>> import os, pyjail
    >>> _, theirs = os.openpty()  # or sys.stdout, where that is one
    >>> with pyjail.Terminal(theirs) as terminal:
    ...     pyjail.run(["test", "-t", "1"], stdout=terminal).returncode
    0
    """

    def __init__(self, file: Any) -> None:
        try:
            self._fd = file if isinstance(file, int) and not isinstance(file, bool) else file.fileno()
            self._settings = termios.tcgetattr(self._fd)
        except (AttributeError, OSError, ValueError, OverflowError, termios.error):
            raise SpecError("file", file, "a terminal is needed: a file or an fd that isatty() says is one") from None
        self._flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        self._size = fcntl.ioctl(self._fd, termios.TIOCGWINSZ, bytes(8))
        self._exclusive = fcntl.ioctl(self._fd, TIOCGEXCL, bytes(4)) != bytes(4)

    def fileno(self) -> int:
        """The number of its fd."""
        return self._fd

    def restore(self) -> None:
        """Put the settings back, with the window's size, O_NONBLOCK and the like, to what they were when this object
        was made, and let output go on."""
        # From the background tcsetattr(3) would stop this process by SIGTTOU, unless that is blocked.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            with contextlib.suppress(OSError, termios.error):  # hung up: there is nothing to put back
                termios.tcflow(self._fd, termios.TCOON)
                termios.tcsetattr(self._fd, termios.TCSANOW, self._settings)
                fcntl.ioctl(self._fd, termios.TIOCEXCL if self._exclusive else termios.TIOCNXCL)
                if fcntl.ioctl(self._fd, termios.TIOCGWINSZ, bytes(8)) != self._size:
                    fcntl.ioctl(self._fd, termios.TIOCSWINSZ, self._size)
                fcntl.fcntl(self._fd, fcntl.F_SETFL, self._flags)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.restore()

    def __repr__(self) -> str:
        return f"Terminal({os.ttyname(self._fd)!r})" if os.isatty(self._fd) else f"Terminal({self._fd})"
