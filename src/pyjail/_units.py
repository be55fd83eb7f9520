"""Validated numbers: seconds, bytes, counts. Every refusal names the field and what is allowed."""

from __future__ import annotations

import math
import re
from numbers import Real

from pyjail._errors import SpecError

MAX = 2**63
_SUFFIX = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,19})([KMGT]?)\Z")


def seconds(field: str, value: object) -> float | None:
    """A positive, finite number of seconds, or None for no limit."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise SpecError(field, value, "a number of seconds above 0 is needed, or None for no limit")
    number = float(value)
    if not math.isfinite(number) or number <= 0 or number * 1e9 >= MAX:
        raise SpecError(field, value, "seconds must be above 0 and below 9.2e9 (292 years); None means no limit")
    if number < 1e-9:
        raise SpecError(field, value, "less than a nanosecond cannot be measured")
    return number


def count(field: str, value: object, *, least: int = 1, most: int = MAX - 1) -> int | None:
    """A whole number from ``least`` to ``most``, or None for no limit."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise SpecError(field, value, f"a whole number from {least} is needed, or None for no limit")
    if not least <= value <= most:
        raise SpecError(field, value, f"must be from {least} to {most}; None means no limit")
    return int(value)


def size(field: str, value: object, *, least: int = 1) -> int | None:
    """Bytes: an int, or text such as "64K", "256M", "1G" (powers of 1024); None for no limit."""
    if isinstance(value, str):
        match = _SIZE.match(value)
        if match is None:
            raise SpecError(field, value, 'sizes are bytes as an int or text like "64K", "256M", "1G"')
        value = int(match[1]) * _SUFFIX[match[2]]
    return count(field, value, least=least)


def duration(field: str, text: str) -> float | None:
    """Seconds from the command line: "2", "2s", "500ms", "1m"; "none" for no limit."""
    if text == "none":
        return None
    match = re.match(r"([0-9]*\.?[0-9]+)(ms|s|m|h|)\Z", text)
    if match is None:
        raise SpecError(field, text, 'durations look like "2", "2s", "500ms", "1m", or "none"')
    return seconds(field, float(match[1]) * {"": 1, "s": 1, "ms": 1e-3, "m": 60, "h": 3600}[match[2]])


def show_size(value: int | None) -> str:
    """1048576 -> "1M"; None -> "none"; the inverse of `size` where the number is round."""
    if value is None:
        return "none"
    for suffix in "TGMK":
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
