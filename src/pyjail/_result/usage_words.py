"""What the lines of a usage and of a receipt say."""

from __future__ import annotations

from collections.abc import Iterator

from pyjail._base import brief as brief
from pyjail._base.records import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def usage(u: Any) -> Iterator[str]:
    """What is known, in units for people."""
    for name in names(u):
        value = getattr(u, name)
        if value is None or value is False or value == ():
            continue
        if name.endswith("_time"):
            yield f"{name}={brief.seconds(value)}"
        elif name in ("memory_peak", "memory_before", "io_read", "io_written"):
            yield f"{name}={brief.size(value)}"
        elif not isinstance(value, dict):
            yield f"{name}={brief.short(value)}"


def receipt(rows: Any) -> Iterator[str]:
    """How many controls are in which state, and which are missing."""
    found = [row.status for row in rows]
    yield f"{len(found)} controls"
    yield f"{found.count('enforced')} enforced"
    if missing := [row.name for row in rows.not_enforced]:
        yield f"not enforced: {', '.join(missing)}"
