"""Plain data as bytes, and back. No class, no code and no name ever comes out of the bytes: only the types below.

A value is one tag byte and its body; sizes and counts are four bytes, big-endian, and never more than what is left::

    N None   T True   F False   I n, two's complement   D IEEE double   C two doubles   S n, UTF-8   B n, bytes
    Y n, bytearray   L n, list   U n, tuple   E n, set   Z n, frozenset   M n, dict: key, value ...   R range: 3 ints
    P n, Decimal as text   Q Fraction: 2 ints   K n, keys   V n, values   J n, items of a dict: key, value ...
    G n, what an iterator gave, and how it ended: None, True (cut short) or a tuple that tells of an exception
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False  # as typing's: a jail's Python starts in 10 ms, importing typing would add as many
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Ending = Callable[[BaseException], Any]
    Iterated = Callable[[list[Any], Any], Any]

MOST_BYTES = 8 << 20  # of one message
MOST_VALUES = 500_000  # in one message, nested ones counted
MOST_DEPTH = 64
MOST_ITEMS = 100_000  # taken from one iterator
MOST_DIGITS = (
    10_000  # of a Decimal; and so many bits may either part of a Fraction have: larger ones take long to reduce
)

_COUNT = struct.Struct(">I")
_DOUBLE = struct.Struct(">d")
_COMPLEX = struct.Struct(">dd")
VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_KEYS, _VALUES, _ITEMS = VIEWS
_SEQUENCES = ((list, b"L"), (tuple, b"U"), (set, b"E"), (frozenset, b"Z"))


class Unsupported(Exception):
    """This value is not plain data, or too much of it."""


class Malformed(Exception):
    """These bytes are nobody's encoding of plain data."""


def encode(value: Any, ending: Ending | None = None) -> bytes:
    """The bytes of a value. Instances of subclasses are written as their base class holds them.

    Args:
        value: None, bool, int, float, complex, Decimal, Fraction, str, bytes, bytearray, list, tuple, set, frozenset,
            dict, its keys, values and items, range, nested; numpy's numbers as Python's.
        ending: takes iterators, too, and says what to write for an exception that one of them raised.

    Raises:
        Unsupported: another type, or more than `MOST_BYTES`, `MOST_VALUES` or `MOST_DEPTH`.

    >>> decode(encode({"a": [1, (2.5, None)], 7: {b"x"}}))
    {'a': [1, (2.5, None)], 7: {b'x'}}
    """
    encoder = _Encoder(ending)
    try:
        encoder.put(value, 0)
    except (
        TypeError,
        AttributeError,
        RuntimeError,
        ArithmeticError,
        ValueError,
    ) as e:  # a class that lies, a container that changes meanwhile
        raise Unsupported(f"a {type(value).__name__}: {e}") from None
    return b"".join(encoder.parts)


class _Encoder:
    def __init__(self, ending: Ending | None) -> None:
        self.parts: list[bytes] = []
        self.size = self.values = 0
        self.ending = ending

    def add(self, tag: bytes, body: bytes = b"", count: int | None = None) -> None:
        part = tag + body if count is None else tag + _COUNT.pack(count) + body
        self.size += len(part)
        self.values += 1
        if self.size > MOST_BYTES or self.values > MOST_VALUES:
            raise Unsupported(f"more than {MOST_BYTES} bytes or {MOST_VALUES} values")
        self.parts.append(part)

    def put(self, value: Any, depth: int) -> None:
        """By the real class, never by what ``__class__`` says, and by the methods of the base class."""
        if value is None or value is True or value is False:
            self.add(b"N" if value is None else b"T" if value else b"F")
            return
        kind: type = type(value)
        if depth > MOST_DEPTH:
            raise Unsupported(f"nested more than {MOST_DEPTH} deep, or within itself")
        if issubclass(kind, int):
            number = int.__add__(value, 0)
            size = number.bit_length() // 8 + 1
            self.add(b"I", number.to_bytes(size, "big", signed=True), size)
        elif issubclass(kind, float):
            self.add(b"D", _DOUBLE.pack(value))
        elif issubclass(kind, complex):
            pure = complex.__pos__(value)
            self.add(b"C", _COMPLEX.pack(pure.real, pure.imag))
        elif issubclass(kind, str):
            text = str.encode(value, "utf-8", "surrogatepass")
            self.add(b"S", text, len(text))
        elif issubclass(kind, (bytes, bytearray)):
            raw = bytes(memoryview(value))
            self.add(b"B" if issubclass(kind, bytes) else b"Y", raw, len(raw))
        elif kind is range:
            self.add(b"R")
            for part in (value.start, value.stop, value.step):
                self.put(part, depth)
        elif issubclass(kind, dict):
            self.add(b"M", count=dict.__len__(value))
            for key, item in dict.items(value):
                self.put(key, depth + 1)
                self.put(item, depth + 1)
        elif not (
            self.sequence(kind, value, depth) or self.view(kind, value, depth) or self.number(kind, value, depth)
        ):
            self.iterator(kind, value, depth)

    def sequence(self, kind: type, value: Any, depth: int) -> bool:
        for base, tag in _SEQUENCES:
            if issubclass(kind, base):
                self.add(tag, count=base.__len__(value))
                for item in base.__iter__(value):
                    self.put(item, depth + 1)
                return True
        return False

    def view(self, kind: type, value: Any, depth: int) -> bool:
        if kind is _KEYS or kind is _VALUES:
            self.add(b"K" if kind is _KEYS else b"V", count=len(value))
            for item in value:
                self.put(item, depth + 1)
        elif kind is _ITEMS:
            self.add(b"J", count=len(value))
            for key, item in value:
                self.put(key, depth + 1)
                self.put(item, depth + 1)
        else:
            return False
        return True

    def number(self, kind: type, value: Any, depth: int) -> bool:
        """By the names of its classes: importing the modules of those would cost more than all else here."""
        bases: dict[tuple[str, str], Any] = {(k.__module__, k.__name__): k for k in type.mro(kind)}
        if base := bases.get(("decimal", "Decimal")):
            text = str.encode(base.__str__(value))
            if len(text) > MOST_DIGITS:
                raise Unsupported(f"a Decimal of more than {MOST_DIGITS} digits")
            self.add(b"P", text, len(text))
        elif base := bases.get(("fractions", "Fraction")):
            self.add(b"Q")
            for part in (base.numerator.fget(value), base.denominator.fget(value)):
                if part.bit_length() > MOST_DIGITS:
                    raise Unsupported(f"a Fraction of more than {MOST_DIGITS} bits")
                self.put(part, depth)
        elif base := bases.get(("numpy", "generic")):
            plain = base.item(value)
            if type(plain) not in (bool, int, float, complex):
                return False
            self.put(plain, depth)
        else:
            return False
        return True

    def iterator(self, kind: type, value: Any, depth: int) -> None:
        if self.ending is None or not hasattr(kind, "__next__"):
            what = getattr(value, "__name__", "") if callable(value) else ""
            raise Unsupported(f"a {kind.__name__}{f' ({what})' if isinstance(what, str) and what else ''}")
        self.add(b"G", count=0)
        at, count, end = len(self.parts) - 1, 0, None
        items = iter(value)
        while end is None:
            if count >= MOST_ITEMS or self.size > MOST_BYTES // 2 or self.values > MOST_VALUES // 2:
                end = True
                break
            try:
                item = next(items)
            except StopIteration:
                break
            except BaseException as e:
                end = self.ending(e)
            else:
                self.put(item, depth + 1)
                count += 1
        self.parts[at] = b"G" + _COUNT.pack(count)
        self.put(end, depth + 1)


def decode(data: bytes, iterated: Iterated | None = None) -> Any:
    """The value of these bytes, all of them.

    Args:
        data: hostile for all we know.
        iterated: makes what stands for an iterator of its items and its end; without it there may be none.

    Raises:
        Malformed: not exactly one value, or one beyond the bounds.
    """
    if len(data) > MOST_BYTES:
        raise Malformed(f"more than {MOST_BYTES} bytes")
    decoder = _Decoder(data, iterated)
    try:
        value = decoder.get(0)
    except (IndexError, struct.error):
        raise Malformed("ends too early") from None
    except (TypeError, ValueError) as e:  # unhashable in a set, bad UTF-8
        raise Malformed(str(e)) from None
    if decoder.at != len(data):
        raise Malformed("more than one value")
    return value


class _Decoder:
    def __init__(self, data: bytes, iterated: Iterated | None) -> None:
        self.data = data
        self.at = self.values = 0
        self.iterated = iterated

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise Malformed("ends too early")
        body = self.data[self.at : end]
        self.at = end
        return body

    def count(self) -> int:
        number: int = _COUNT.unpack(self.take(4))[0]
        if number > len(self.data) - self.at:
            raise Malformed("counts more than there is")
        return number

    def get(self, depth: int) -> Any:
        self.values += 1
        if depth > MOST_DEPTH or self.values > MOST_VALUES:
            raise Malformed("too deep or too many values")
        tag = self.take(1)
        if tag in b"NTF":
            return {b"N": None, b"T": True, b"F": False}[tag]
        if tag == b"I":
            return int.from_bytes(self.take(self.count()), "big", signed=True)
        if tag == b"D":
            return _DOUBLE.unpack(self.take(8))[0]
        if tag == b"C":
            return complex(*_COMPLEX.unpack(self.take(16)))
        if tag == b"S":
            return self.take(self.count()).decode("utf-8", "surrogatepass")
        if tag == b"B":
            return self.take(self.count())
        if tag == b"Y":
            return bytearray(self.take(self.count()))
        if tag == b"R":
            return range(*self.ints(3, depth))
        if tag in b"PQ":
            return self.exact(tag, depth)
        return self.container(tag, depth + 1)

    def ints(self, count: int, depth: int) -> list[int]:
        parts = [self.get(depth) for _ in range(count)]
        if any(type(part) is not int for part in parts):
            raise Malformed("something else where ints are due")
        return parts

    def exact(self, tag: bytes, depth: int) -> Any:
        """A Decimal or a Fraction, whose modules are imported when there is one."""
        if tag == b"P":
            from decimal import Decimal

            text = self.take(self.count())
            if len(text) > MOST_DIGITS:
                raise Malformed("too long a Decimal")
            try:
                return Decimal(text.decode("ascii"))
            except ArithmeticError:
                raise Malformed("no Decimal") from None
        from fractions import Fraction

        parts = self.ints(2, depth)
        if parts[1] <= 0 or any(part.bit_length() > MOST_DIGITS for part in parts):
            raise Malformed("no Fraction")
        return Fraction(*parts)

    def container(self, tag: bytes, depth: int) -> Any:
        if tag in b"MJ":
            count = self.count()
            mapping = {}
            for _ in range(count):
                key = self.get(depth)
                mapping[key] = self.get(depth)
            whole = self.whole(mapping, count)
            return whole if tag == b"M" else whole.items()
        if tag not in b"LUEZGKV":
            raise Malformed("an unknown tag")
        count = self.count()
        items = [self.get(depth) for _ in range(count)]
        if tag == b"K":
            return self.whole(dict.fromkeys(items), count).keys()
        if tag == b"V":
            return dict(enumerate(items)).values()
        if tag == b"G":
            if self.iterated is None:
                raise Malformed("an iterator where there can be none")
            return self.iterated(items, self.get(depth))
        if tag == b"L":
            return items
        return tuple(items) if tag == b"U" else self.whole(set(items) if tag == b"E" else frozenset(items), count)

    @staticmethod
    def whole(made: Any, count: int) -> Any:
        if len(made) != count:
            raise Malformed("equal elements or keys")
        return made
