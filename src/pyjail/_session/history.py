"""What the runs of a session came to: the last ones whole, the sums of all. A session may have no end."""

from __future__ import annotations

from collections.abc import Iterator

from pyjail._result.result import Result

MOST = 64 << 20  # bytes of what programs have written
EACH = 8 << 10  # that a result takes beside them: its report


class History:
    """``results``: the last ones, in order; the caller's to look at, and to empty."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.forgotten = 0
        self._held = 0
        self._cpu_time = 0.0
        self._memory_peak: int | None = None

    def add(self, result: Result) -> None:
        """One more; the oldest are forgotten when all together are more than `MOST` bytes, but never the last one."""
        self.results.append(result)
        self._held += _size(result)
        if self._held <= MOST:
            return
        self._held = sum(map(_size, self.results))  # the caller may have emptied it
        while self._held > MOST and len(self.results) > 1:
            first = self.results.pop(0)
            self.forgotten += 1
            self._held -= _size(first)
            self._cpu_time += first.usage.cpu_time or 0.0
            self._memory_peak = max(_peaks([first], self._memory_peak), default=None)

    @property
    def cpu_time(self) -> float:
        """s, of all."""
        return self._cpu_time + sum(r.usage.cpu_time or 0.0 for r in self.results)

    @property
    def memory_peak(self) -> int | None:
        """bytes, of the one that had most."""
        return max(_peaks(self.results, self._memory_peak), default=None)


def _peaks(results: list[Result], before: int | None) -> Iterator[int]:
    found = [before, *(r.usage.memory_peak for r in results)]
    return (peak for peak in found if peak is not None)


def _size(result: Result) -> int:
    outputs = (result.stdout, result.stderr, *result.files.values())
    return EACH + sum(len(o) for o in outputs if o is not None)
