"""What a cell gives while it runs: kept within bounds, and told to who wants to hear it at once."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from io import StringIO
from typing import Any

from pyjail.interpreter._records import Display, Logs

Callback = Callable[[Any], object]


MOST_PIECES = 4096


class Stream:
    """stdout or stderr of a cell: its first ``most`` bytes, as text.

    Beyond many pieces the rest is one: a program that writes byte by byte must not make millions of objects here.
    """

    def __init__(self, name: str, most: int, tell: Callback | None) -> None:
        self.name, self.most, self.tell = name, most, tell
        self._pieces: list[str] = []
        self._rest = StringIO(newline="")
        self.size = 0
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def take(self, data: bytes, final: bool = False) -> None:
        """More of it; ``final``: no more comes."""
        room = max(0, self.most - self.size)
        self.size += len(data)
        if room or final:
            self._keep(self._decode(data[:room], final))

    def _keep(self, text: str) -> None:
        if text:
            if len(self._pieces) < MOST_PIECES:
                self._pieces.append(text)
            else:
                self._rest.write(text)
            if self.tell is not None:
                self.tell(text)

    def pieces(self) -> tuple[str, ...]:
        """All that is kept."""
        rest = self._rest.getvalue()
        return (*self._pieces, rest) if rest else tuple(self._pieces)

    def cut(self) -> str:
        """What is not here, in words; "" when all is."""
        lost = self.size - self.most
        return f"{self.name}: {lost} bytes, after the first {self.most}" if lost > 0 else ""


class Heard:
    """All that a cell gives."""

    def __init__(
        self,
        most: int,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
        on_result: Callback | None = None,
    ) -> None:
        self.stdout = Stream("stdout", most, on_stdout)
        self.stderr = Stream("stderr", most, on_stderr)
        self.results: list[Display] = []
        self._on_result = on_result

    def result(self, shown: Display) -> None:
        """One more."""
        self.results.append(shown)
        if self._on_result is not None:
            self._on_result(shown)

    def close(self) -> None:
        """The cell is over: half of a character at the end is one that is broken."""
        for stream in (self.stdout, self.stderr):
            stream.take(b"", True)

    def logs(self) -> Logs:
        """What was written."""
        return Logs(self.stdout.pieces(), self.stderr.pieces())

    def cut(self, dropped: tuple[int, int]) -> tuple[str, ...]:
        """What is not here, a line each."""
        count, size = dropped
        lines = [self.stdout.cut(), self.stderr.cut(), f"results: {count}, of {size} bytes" if count else ""]
        return tuple(line for line in lines if line)
