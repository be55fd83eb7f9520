"""What the lines of a `Result`, its usage and its receipt say."""

from __future__ import annotations

from collections.abc import Iterator

from pyjail._base import brief as brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._result.completed import Completed


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
    if r.egress is not None:
        yield f"egress={' '.join(r.egress._words())}"
    if r.files:
        yield f"files={brief.short(sorted(r.files), 30)}" if len(r.files) <= 5 else f"{len(r.files)} files"
    for name in ("stdout", "stderr"):
        if getattr(r, name):
            yield f"{name}={brief.short(getattr(r, name))}"
