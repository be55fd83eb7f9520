"""The printer that objects with ``_repr_pretty_(printer, cycle)`` write to: all on one line, as long as it may be."""

from __future__ import annotations

from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Printer:
    """What of IPython's such methods call."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.inner: list[int] = []  # the objects that are being printed

    def text(self, text: str) -> None:
        """Add text."""
        self.pieces.append(text)

    def breakable(self, sep: str = " ") -> None:
        """Add what stands where a line might be broken."""
        self.pieces.append(sep)

    def break_(self) -> None:
        """Add the end of a line."""
        self.pieces.append("\n")

    def begin_group(self, indent: int = 0, open: str = "") -> None:
        """Add what opens a group."""
        self.pieces.append(open)

    def end_group(self, dedent: int = 0, close: str = "") -> None:
        """Add what closes it."""
        self.pieces.append(close)

    @contextmanager
    def group(self, indent: int = 0, open: str = "", close: str = "") -> Iterator[None]:
        """A group around what the block adds."""
        self.pieces.append(open)
        yield
        self.pieces.append(close)

    @contextmanager
    def indent(self, indent: int) -> Iterator[None]:
        """Lines of the block are further in; here they are where they are."""
        yield

    def pretty(self, value: Any) -> None:
        """Add a value: by its own method, when it has one."""
        method = getattr(type(value), "_repr_pretty_", None)
        if method is None:
            self.pieces.append(repr(value))
            return
        cycle = id(value) in self.inner
        self.inner.append(id(value))
        method(value, self, cycle)
        self.inner.pop()


def printed(value: Any) -> str:
    """A value that has ``_repr_pretty_``, as text."""
    printer = Printer()
    printer.pretty(value)
    return "".join(printer.pieces)
