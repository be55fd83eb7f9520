"""Validated numbers: seconds, bytes, counts. Every refusal names the field and what is allowed."""

from __future__ import annotations

import math
import re
from numbers import Real

from pyjail._base.errors import SpecError

MAX = 2**63
LONGEST = 9e9  # seconds, 285 years: who waits longer waits without an end
PAGE = 4096  # bytes; nothing starts with less memory, stack or address space
_SUFFIX = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
# Compiled when the first text comes: that takes longer than all else of this import.
_SIZE = r"(?ia)([0-9]{1,19})(?:\.([0-9]{1,9}))? ?(?:([KMGTP])(?:I?B)?|B)?\Z"
_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "m": 60.0, "min": 60.0, "h": 3600.0}
_TIME = r"(?a)([0-9]{1,19}(?:\.[0-9]{0,19})?|\.[0-9]{1,19}) ?([a-z]*)\Z"
NONE = "none"  # no limit, where None cannot be written


def seconds(field: str, value: object) -> float | None:
    """A positive, finite number of seconds, or text such as "500ms", "2s", "1m"; None or "none" for no limit."""
    if value is None or (isinstance(value, str) and value == NONE):
        return None
    if isinstance(value, str):
        match = re.match(_TIME, value)
        if match is None or match[2] not in _SECONDS:
            raise SpecError(
                field, value, 'times are seconds, or text like "500ms", "2s", "1.5m", "1h"; "none" is no limit'
            )
        value = float(match[1]) * _SECONDS[match[2]]
    if isinstance(value, bool) or not isinstance(value, Real):
        raise SpecError(field, value, 'a number of seconds above 0 is needed, text like "2s", or None for no limit')
    number = float(value) if value < MAX and not value <= -MAX else math.inf  # an int may be too large for a float
    if not math.isfinite(number) or number <= 0 or number * 1e9 >= MAX:
        raise SpecError(field, value, "seconds must be above 0 and below 9.2e9 (292 years); None means no limit")
    if number < 1e-9:
        raise SpecError(field, value, "less than a nanosecond cannot be measured")
    return number


def patience(value: object) -> float | None:
    """How many seconds a caller waits for what may come later: 0 or less is a look; text as for `seconds`."""
    if value is None or isinstance(value, str):
        return seconds("timeout", value)
    if isinstance(value, bool) or not isinstance(value, Real) or value != value:
        raise SpecError("timeout", value, 'a number of seconds is needed, text like "2s", or None for no limit')
    return None if not value < LONGEST else 0.0 if value <= -LONGEST else float(value)


def count(field: str, value: object, *, least: int = 1, most: int = MAX - 1) -> int | None:
    """A whole number from ``least`` to ``most``; None or "none" for no limit."""
    if value is None or (isinstance(value, str) and value == NONE):
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise SpecError(field, value, f"a whole number from {least} is needed, or None for no limit")
    if not least <= value <= most:
        raise SpecError(field, value, f"must be from {least} to {most}; None means no limit")
    return int(value)


def size(field: str, value: object, *, least: int = 1, start: int = 0) -> int | None:
    """Bytes: an int, or text such as "64K", "256M", "1.5G", "64MB", "64 MiB": powers of 1024, in upper or lower case.

    None or "none" is no limit. ``start``: with fewer bytes nothing can start.
    """
    number = value
    if isinstance(value, str) and value != NONE:
        match = re.match(_SIZE, value)
        if match is None:
            raise SpecError(field, value, 'sizes are bytes, or text like "64K", "256M", "1.5G"; "none" is no limit')
        unit = _SUFFIX[(match[3] or "").upper()]
        part = match[2] or ""
        if part and unit == 1:
            raise SpecError(field, value, "a part of a byte cannot be had")
        number = int(match[1]) * unit + (int(part) * unit // 10 ** len(part) if part else 0)
    number = count(field, number, least=least)
    if number is not None and number < start:
        plain = isinstance(value, int) or (isinstance(value, str) and value.isdigit())
        meant = f'; did you mean "{number}M"?' if plain else f'; "{show_size(start)}" is the least'
        raise SpecError(field, value, f"nothing can start with {number} bytes{meant}")
    return number


def show_size(value: int | None) -> str:
    """1048576 -> "1M"; None -> "none"; the inverse of `size` where the number is round."""
    if value is None:
        return "none"
    for suffix in "PTGMK":
        if value and value % _SUFFIX[suffix] == 0:
            return f"{value // _SUFFIX[suffix]}{suffix}"
    return str(value)


def cpu_list(text: str) -> frozenset[int]:
    """The kernel's notation of a set of CPUs.

    >>> sorted(cpu_list("0-2,8\\n"))
    [0, 1, 2, 8]
    """
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)
