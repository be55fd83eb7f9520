"""JSON that others wrote, with nothing in it that two readers could take for different things. Pure."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from pyjail._images.bounds import allowed
from pyjail._images.errors import ImageError

DEPTH = 64  # of lists and objects in one another
VALUES = 100_000  # lists, objects and their members: at 100 bytes of memory each
DIGITS = 18  # of a number
_UNFIT = re.compile("[\0\ud800-\udfff]")


def document(raw: bytes, what: str, most: int, bound: str) -> dict[str, object]:
    """The object that ``raw`` is; see `parsed`."""
    found = parsed(raw, what, most, bound)
    if not isinstance(found, dict):
        raise ImageError(what, "a JSON object is needed")
    return found


def array(raw: bytes, what: str, most: int, bound: str) -> list[object]:
    """The list that ``raw`` is; see `parsed`."""
    found = parsed(raw, what, most, bound)
    if not isinstance(found, list):
        raise ImageError(what, "a JSON list is needed")
    return found


def parsed(raw: bytes, what: str, most: int, bound: str) -> object:
    """The value that ``raw`` is: UTF-8, no key twice, at most ``most`` bytes, numbers of at most 18 digits.

    Raises `ImageError` of ``what``; ``bound`` is the name of what ``most`` is.
    """
    if len(raw) > most:
        raise ImageError(what, f"more than {allowed(bound, most)}")
    _shape(raw, what)

    def pairs(members: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(members)
        if len(found) != len(members):
            raise ImageError(what, "a key occurs twice in one object, and readers differ in which one they take")
        return found

    def number(text: str) -> int:
        if len(text.lstrip("-")) > DIGITS:
            raise ImageError(what, f"a number has more than {DIGITS} digits")
        return int(text)

    def no_number(text: str) -> NoReturn:
        raise ImageError(what, f"{text} is no value of JSON")

    try:
        return json.loads(raw.decode(), object_pairs_hook=pairs, parse_int=number, parse_constant=no_number)
    except (ValueError, RecursionError) as e:
        if isinstance(e, ImageError):
            raise
        where = f" at byte {e.pos:,}" if isinstance(e, json.JSONDecodeError) else ""
        raise ImageError(what, f"it is no JSON in UTF-8{where}") from None


def _shape(raw: bytes, what: str) -> None:
    """Raises when it is nested too deep or has too many values, before a parser makes objects of them."""
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHER)
    if plain.count(b'"') > 4 * VALUES:  # two for a member's name, two for its value
        raise ImageError(what, f"it has more than {VALUES:,} values")
    depth = values = 0
    for piece in plain.split(b'"')[::2]:  # what is outside of strings
        values += len(piece)
        if values > VALUES:
            raise ImageError(what, f"it has more than {VALUES:,} values")
        for byte in piece:
            depth += (byte in b"[{") - (byte in b"]}")
            if depth > DEPTH:
                raise ImageError(what, f"lists and objects are in one another more than {DEPTH} deep")


_OTHER = bytes(set(range(256)) - set(b'"[]{},'))


def member(of: dict[str, object], key: str, what: str) -> dict[str, object]:
    """The object that is ``key`` of another; absent or null: an empty one."""
    value = of.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ImageError(what, f"{key!r} has to be an object")
    return value


def rows(of: dict[str, object], key: str, what: str, most: int, bound: str) -> list[object]:
    """The list that is ``key``, of at most ``most`` entries; absent or null: an empty one."""
    value = of.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ImageError(what, f"{key!r} has to be a list")
    if len(value) > most:
        raise ImageError(what, f"{key!r} has more entries than {allowed(bound, most)}")
    return value


def text(value: object, what: str, key: str) -> str:
    """``value``, a text without NUL that can be written as UTF-8; null: empty."""
    if value is None:
        return ""
    if not isinstance(value, str) or _UNFIT.search(value):
        raise ImageError(what, f"{key!r} has to be text, without NUL")
    return value


def texts(of: dict[str, object], key: str, what: str, most: int, bound: str) -> tuple[str, ...]:
    """The texts of a list."""
    return tuple(text(value, what, key) for value in rows(of, key, what, most, bound))


def table(of: dict[str, object], key: str, what: str) -> dict[str, str]:
    """An object whose members are all texts."""
    return {text(name, what, key): text(value, what, key) for name, value in member(of, key, what).items()}


def count(of: dict[str, object], key: str, what: str) -> int:
    """A whole number that is not negative."""
    value = of.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ImageError(what, f"{key!r} has to be a whole number, not negative")
    return value
