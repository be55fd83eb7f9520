"""Which versions a selector of Piston's selects, as semver says."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence

_COMPARED: Mapping[str, Callable[..., bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_ANY = ("*", "x", "X", "latest", "")
_LONGEST = 256  # characters of a selector
_PART = re.compile(r"(>=|<=|[<>^~=]?)\s*v?([0-9xX*.]+)")


def matches(selector: str, version: str) -> bool:
    """Whether ``*``, ``3``, ``3.x``, ``^3.1``, ``~3.1``, ``>=3 <4``, ``3.9 - 3.12``, ``2 || 3`` or ``3.11.2`` selects a
    version."""
    if len(selector) > _LONGEST:
        return False
    here = _numbers(version)
    return any(_all(alternative.strip(), here) for alternative in selector.split("||"))


def _all(wanted: str, here: Sequence[int]) -> bool:
    if wanted.lstrip("v=") in _ANY:
        return True
    low, dash, high = wanted.partition(" - ")
    if dash:
        wanted = f">={low.strip()} <={high.strip()}"
    found = _PART.findall(wanted)
    if not found or _PART.sub("", wanted).strip():
        return False
    return all(_one(sign, text, here) for sign, text in found)


def _one(sign: str, text: str, here: Sequence[int]) -> bool:
    """Whether the version fits one comparison; what is left out of a bound may be anything."""
    given = text.split(".")
    parts = [part for part in given if part not in ("x", "X", "*")]
    if not all(part.isdigit() and len(part) < 10 for part in parts):
        return False
    bound = [int(part) for part in parts]
    if sign in _COMPARED:
        return bool(_COMPARED[sign](list(here[: len(bound)]), bound))
    if sign in ("^", "~"):
        same = 1 if sign == "^" else min(2, len(bound))
        return list(here[:same]) == bound[:same] and list(here) >= bound
    return list(here[: len(bound)]) == bound


def _numbers(version: str) -> list[int]:
    return [int(part) if part.isascii() and part.isdigit() and len(part) < 10 else 0 for part in version.split(".")]
