"""Plain data of a check as JSON, and back: what JSON has no word for is an object of one key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyjail import SpecError
from pyjail.grading.inside.encoding import VIEWS, Unsupported, decode, encode
from pyjail.records import pack, unpack

_KEYS, _VALUES, _ITEMS = VIEWS
_WIDEST = 63  # bits of an int that is a number in JSON


def write(field: str, value: Any) -> Any:
    """As docs/data.md has it. SpecError names the field of what is no plain data.

    >>> write("value", (1, {2: b"x"}))
    {'tuple': [1, {'dict': [[2, {'bytes': 'x'}]]}]}
    """
    try:
        return _write(decode(encode(value)))  # as the types that there are, whatever derives from them
    except Unsupported as e:
        raise SpecError(field, value, f"is no plain data, and cannot be JSON: {e}") from None


def _write(value: Any) -> Any:
    kind = type(value)
    if kind is int:
        return value if value.bit_length() <= _WIDEST else {"int": hex(value)}  # of any length, as text of digits not
    if kind is float:
        return value if value - value == 0 else {"float": repr(value)}
    if kind in (str, bytes, type(None), bool):
        return pack(value)
    if kind is bytearray:
        return {"bytearray": pack(value)}
    if kind is list:
        return [_write(item) for item in value]
    if kind is dict:
        return {"dict": _write_pairs(value.items())}
    if kind is _ITEMS:
        return {"items": _write_pairs(value)}
    if kind is complex:
        return {"complex": [_write(value.real), _write(value.imag)]}
    if kind is range:
        return {"range": [_write(value.start), _write(value.stop), _write(value.step)]}
    name = _NAMES.get(kind)
    if name is not None:
        return {name: [_write(item) for item in value]}
    parts = (value.numerator, value.denominator) if kind.__name__ == "Fraction" else ()
    return {"fraction": [_write(part) for part in parts]} if parts else {"decimal": str(value)}


def _write_pairs(pairs: Any) -> list[Any]:
    return [[_write(key), _write(item)] for key, item in pairs]


_NAMES: dict[type, str] = {
    tuple: "tuple", set: "set", frozenset: "frozenset", _KEYS: "keys", _VALUES: "values",
}  # fmt: skip


def read(value: Any) -> Any:
    """The inverse of `write`; ValueError, TypeError or LookupError for what it did not write."""
    if isinstance(value, list):
        return [read(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if len(value) != 1:
        raise ValueError("an object of one key is needed")
    (name, inner), *_ = value.items()
    return _READ[name](inner) if name in _READ else unpack(value)


def _pairs(inner: Any) -> dict[Any, Any]:
    return {read(key): read(item) for key, item in inner}


def _fraction(inner: Any) -> Any:
    from fractions import Fraction

    return Fraction(*read(inner))


def _decimal(inner: Any) -> Any:
    from decimal import Decimal

    try:
        return Decimal(inner)
    except ArithmeticError:
        raise ValueError("no Decimal") from None


_READ: dict[str, Callable[[Any], Any]] = {
    "int": lambda inner: int(inner, 16),
    "float": float,
    "bytearray": lambda inner: bytearray(unpack(inner)),
    "tuple": lambda inner: tuple(read(inner)),
    "set": lambda inner: set(read(inner)),
    "frozenset": lambda inner: frozenset(read(inner)),
    "dict": _pairs,
    "keys": lambda inner: dict.fromkeys(read(inner)).keys(),
    "values": lambda inner: dict(enumerate(read(inner))).values(),
    "items": lambda inner: _pairs(inner).items(),
    "complex": lambda inner: complex(*read(inner)),
    "range": lambda inner: range(*read(inner)),
    "fraction": _fraction,
    "decimal": _decimal,
}
