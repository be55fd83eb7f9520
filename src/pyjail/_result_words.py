"""What the lines of a `Result`, its usage and its receipt say."""

from __future__ import annotations

from collections.abc import Iterator

from pyjail import _brief as brief
from pyjail._frozen import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyjail._completed import Completed


def result(r: Completed) -> Iterator[str]:
    """Verdict, end, what it took, what it wrote."""
    yield r.verdict.value
    yield f"signal {r.signal}" if r.signal is not None else f"exit {r.exit_code}"
    usage = r.usage
    if usage.wall_time is not None:
        cpu, wall = brief.seconds(usage.cpu_time), brief.seconds(usage.wall_time)
        yield f"cpu {cpu}, wall {wall}, memory {brief.size(usage.memory_peak)}"
    if r.limits_hit:
        yield f"limits_hit={{{', '.join(map(repr, sorted(r.limits_hit)))}}}"
    if r.syscall is not None:
        yield f"syscall={r.syscall!r}"
    if r.error is not None:
        yield f"error={brief.short(r.error, 200)}"
    if r.files:
        yield f"files={brief.short(sorted(r.files), 30)}" if len(r.files) <= 5 else f"{len(r.files)} files"
    for name in ("stdout", "stderr"):
        if getattr(r, name):
            yield f"{name}={brief.short(getattr(r, name))}"


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
