"""The main class of a Java program, read from the class files that its compiler made: pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable

_PUBLIC, _PRIVATE, _STATIC = 0x1, 0x2, 0x8
_MAIN, _STRINGS, _NOTHING = "main", "([Ljava/lang/String;)V", "()V"
# Bytes of a constant after its tag; what is not here has a length of its own, or does not exist.
_SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
MOST_READS = 1 << 20  # numbers read of one file
_LAST = 1 << 16  # a line after all lines


def main_class(classes: Iterable[bytes], stem: str = "") -> str | None:
    """The name of the class that `java` can start, as it wants it ("a.b.Main"); of several that called as the file is
    (``stem``), then the first in the source.

    ``public static void main(String[])`` is what every Java takes; where there is none, any main that is not private,
    with that parameter or none, which newer ones take. None: there is no such class.
    """
    found = [entry for data in classes if (entry := _entry(data)) is not None]
    return min(found, key=lambda entry: (entry[2].rpartition(".")[2] != stem, *entry))[2] if found else None


def _entry(data: bytes) -> tuple[bool, int, str] | None:
    """(whether only newer ones take it, its line, the class's name); None: no main is in it, or it is no class."""
    try:
        return _Class(data).entry()
    except (struct.error, IndexError, KeyError, UnicodeDecodeError, RecursionError):
        return None


class _Class:
    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.left = data, 8, MOST_READS
        self.texts: dict[int, str] = {}
        self.names: dict[int, int] = {}

    def u2(self) -> int:
        self.left -= 1
        if self.left < 0:  # a file made to be read for ever
            raise struct.error
        self.at += 2
        return int(struct.unpack_from(">H", self.data, self.at - 2)[0])

    def u4(self) -> int:
        self.at += 4
        return int(struct.unpack_from(">I", self.data, self.at - 4)[0])

    def skip(self, size: int) -> None:
        self.at += size

    def entry(self) -> tuple[bool, int, str] | None:
        if self.data[:4] != b"\xca\xfe\xba\xbe":
            return None
        self.constants()
        self.skip(2)  # the class's own flags
        name = self.texts[self.names[self.u2()]].replace("/", ".")
        self.skip(2)  # its parent
        self.skip(2 * self.u2())  # its interfaces
        self.members()  # fields
        mains = [(new, line) for flags, method, line in self.members() if (new := _takes(flags, *method)) is not None]
        return (*min(mains), name) if mains else None

    def constants(self) -> None:
        number, count = 1, self.u2()
        while number < count:
            tag = self.data[self.at]
            self.at += 1
            if tag == 1:
                size = self.u2()
                self.texts[number] = self.data[self.at : self.at + size].decode("utf-8", "surrogatepass")
                self.at += size
            else:
                if tag == 7:
                    self.names[number] = struct.unpack_from(">H", self.data, self.at)[0]
                self.at += _SIZES[tag]
            number += 2 if tag in (5, 6) else 1  # a long and a double take two numbers

    def members(self) -> list[tuple[int, tuple[str, str], int]]:
        """(flags, (name, descriptor), first line) of each field or method."""
        found = []
        for _ in range(self.u2()):
            flags, name, kind = self.u2(), self.u2(), self.u2()
            line = min([_LAST, *(self.attribute() for _ in range(self.u2()))])
            found.append((flags, (self.texts.get(name, ""), self.texts.get(kind, "")), line))
        return found

    def attribute(self) -> int:
        """The first line of the source that this attribute tells of, or `_LAST`."""
        name, size = self.texts.get(self.u2(), ""), self.u4()
        end, line = self.at + size, _LAST
        if name == "Code":
            self.skip(4)  # the sizes of its stack and its variables
            self.skip(self.u4())  # what it does
            self.skip(8 * self.u2())  # what it catches
            line = min([_LAST, *(self.attribute() for _ in range(self.u2()))])
        elif name == "LineNumberTable":
            first = [self.line(n) for n in range(self.u2())]
            line = min([_LAST, *first])
        self.at = end
        return line

    def line(self, row: int) -> int:
        """The line of the source in this row of the table that begins here."""
        return int(struct.unpack_from(">H", self.data, self.at + 4 * row + 2)[0])


def _takes(flags: int, name: str, kind: str) -> bool | None:
    """Whether it takes a newer Java to start this method; None: none starts it."""
    if name != _MAIN or kind not in (_STRINGS, _NOTHING) or flags & _PRIVATE:
        return None
    return not (kind == _STRINGS and flags & _PUBLIC and flags & _STATIC)
