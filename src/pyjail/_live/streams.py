"""The pipes and terminals of live processes, each fd with one owner from its first instant to its last."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

from pyjail._base.errors import SpecError
from pyjail._base.fds import Fd, pair
from pyjail._spec import commands
from pyjail._spec.jail import PIPE, Jail, Limits

_NOT_LIVE = ("input", "timeout", "capture_output")


class Streams:
    """The pipes or the terminal of one process: what the program gets (``theirs``), what is ours of them."""

    def __init__(self, stdin: Any, stdout: Any, stderr: Any, pty: bool | tuple[int, int]) -> None:
        self.ours = [Fd(), Fd(), Fd()]
        self.theirs: tuple[Any, Any, Any] = (stdin, stdout, stderr)
        self.lent: list[Fd] = []
        self.terminal = Fd()
        try:
            if pty is not False:
                self._terminal(pty)
                return
            for i, value in enumerate((stdin, stdout, stderr)):
                if isinstance(value, int) and not isinstance(value, bool) and value == PIPE:
                    read, write = pair(os.pipe)
                    self.ours[i], theirs = (write, read) if i == 0 else (read, write)
                    self.lend(i, theirs)
        except BaseException:
            self.close()
            raise

    def lend(self, i: int, fd: Fd) -> None:
        """The program gets this as its stream of that number."""
        self.lent.append(fd)
        self.theirs = (*self.theirs[:i], fd.number, *self.theirs[i + 1 :])

    def _terminal(self, size: bool | tuple[int, int]) -> None:
        import termios

        from pyjail._spec.terminal import Terminal

        if any(value != PIPE for value in self.theirs):
            raise SpecError("pty", size, "a terminal takes the place of stdin, stdout and stderr")
        rows, columns = (24, 80) if size is True else window(size)
        self.terminal, slave = pair(os.openpty)
        self.lent.append(slave)
        termios.tcsetwinsize(slave.number, (rows, columns))
        handed = Terminal(slave.number)
        self.theirs = (handed, handed, handed)

    def command(
        self, args: object, limits: Limits | None, jail: Jail | None, options: Mapping[str, Any]
    ) -> commands.Command:
        """The `Command` of a program that has these, and is talked to while it runs."""
        for name in _NOT_LIVE:
            if name in options:
                raise TypeError(commands.unexpected(name))
        stdin, stdout, stderr = self.theirs
        made = commands.make(args, limits, jail, stdin=stdin, stdout=stdout, stderr=stderr, **options)
        return made._replace(terminal=self.terminal.number >= 0)

    def give_up(self) -> None:
        """The program has its copies: ours would keep its readers from seeing an end."""
        for fd in self.lent:
            fd.close()

    def close(self) -> None:
        """All of them, but for those that a file of `Process` has taken. May be called twice."""
        for fd in (*self.lent, *self.ours, self.terminal):
            fd.close()


def taken(options: Any, pty: bool | tuple[int, int]) -> Streams:
    """Those that these options of a live process ask for, which have them no longer."""
    stdin, stdout, stderr = [options.pop(name, PIPE) for name in ("stdin", "stdout", "stderr")]
    return Streams(stdin, stdout, stderr, pty)


def window(size: object) -> tuple[int, int]:
    """(rows, columns); SpecError."""
    if not (isinstance(size, tuple) and len(size) == 2 and all(type(n) is int and 0 < n < 65536 for n in size)):
        raise SpecError("pty", size, "True, or (rows, columns) from 1 to 65535")
    return size


def file(fd: Fd, mode: str, command: commands.Command) -> Any:
    """What a `Process` has of this fd: bytes or, with ``text=True``, str; None when there is none."""
    if fd.number < 0:
        return None
    raw = fd.hand_over(io.FileIO, mode)
    binary = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    if command.decode is None:
        return binary
    encoding, reading, writing = command.decode
    return io.TextIOWrapper(binary, encoding, writing if mode == "w" else reading, line_buffering=mode == "w")
