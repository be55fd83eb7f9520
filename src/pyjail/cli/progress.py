"""What is for people: lines with colours, and progress of long work on a terminal. Without rich (the extra ``cli``)
lines are plain, and there is no progress."""

from __future__ import annotations

import errno
import importlib.util
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any

Progress = Callable[[int, int, str], None]  # done, all, what is next


class PlainText(str):
    """As much of rich's Text as is used here, without its styles."""

    def __new__(cls, text: str = "", style: str = "") -> PlainText:
        return super().__new__(cls, text)

    def append(self, text: str, style: str = "") -> PlainText:
        return PlainText(self + text)


class PlainConsole:
    """As much of rich's Console as is used here."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def print(self, line: str) -> None:
        self._stream.write(f"{line}\n")


def rich() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("rich") is not None


def text(words: str, style: str = "") -> Any:
    """A piece of a line. ``append`` returns the longer one."""
    if not rich():
        return PlainText(words)
    from rich.text import Text

    return Text(words, style)


def console_of(stream: IO[str]) -> Any:
    """Colours only on a terminal, and not with NO_COLOR or TERM=dumb: rich knows those."""
    if not rich():
        return PlainConsole(stream)
    from rich.console import Console as RichConsole

    class Console(RichConsole):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))  # theirs ends this process with 1

    return Console(
        file=stream, force_terminal=stream.isatty(), highlight=False, soft_wrap=True, emoji=False, markup=False
    )


def bar(stream: IO[str] | None) -> AbstractContextManager[Progress | None]:
    """A progress bar, gone when its block is left; None where there is no terminal."""
    if stream is None or not stream.isatty() or not rich():
        return nullcontext(None)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    shown = Progress(*columns, console=console_of(stream), transient=True)
    task = shown.add_task("")

    class Bar(AbstractContextManager[Callable[[int, int, str], None] | None]):
        def __enter__(self) -> Callable[[int, int, str], None]:
            shown.start()
            return lambda done, total, name: shown.update(task, completed=done, total=total, description=name)

        def __exit__(self, *exc: object) -> None:
            shown.stop()

    return Bar()


def working(stream: IO[str] | None, what: str) -> AbstractContextManager[Any]:
    """A line that says what is going on, gone when its block is left."""
    if stream is None or not stream.isatty() or not rich():
        return nullcontext()
    status: AbstractContextManager[Any] = console_of(stream).status(what)
    return status
