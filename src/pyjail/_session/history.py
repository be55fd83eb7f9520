"""What the runs of a session came to: the last ones whole, the sums of all. A session may have no end."""

from __future__ import annotations

from pyjail._result.result import Result
from pyjail._result.sums import sums

MOST = 64 << 20  # bytes of what programs have written
EACH = 8 << 10  # that a result takes beside them: its report
MOST_RESULTS = 1000  # Python's collector looks at all that is kept, again and again


class History:
    """``results``: the last ones, in order; the caller's to look at, and to empty."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.forgotten = 0
        self._held = 0
        self._cpu_time = 0.0
        self._memory_peak: int | None = None

    def add(self, result: Result) -> None:
        """One more; the oldest are forgotten when all together are more than `MOST` bytes, but never the last one, and
        a tenth of them when there are more than `MOST_RESULTS`."""
        self.results.append(result)
        self._held += _size(result)
        if self._held > MOST:
            self._held = sum(map(_size, self.results))  # the caller may have emptied it
            gone, held = 0, self._held
            while held > MOST and gone < len(self.results) - 1:
                held -= _size(self.results[gone])
                gone += 1
            self._forget(gone)
        if len(self.results) > MOST_RESULTS:
            self._forget(MOST_RESULTS // 10)

    def _forget(self, count: int) -> None:
        for result in self.results[:count]:
            cpu_time, peak = sums(result)
            self._held -= _size(result)
            self._cpu_time += cpu_time
            if peak is not None and peak > (self._memory_peak or 0):
                self._memory_peak = peak
        del self.results[:count]
        self.forgotten += count

    @property
    def cpu_time(self) -> float:
        """s, of all."""
        return self._cpu_time + sum(sums(r)[0] for r in self.results)

    @property
    def memory_peak(self) -> int | None:
        """bytes, of the one that had most."""
        found = [self._memory_peak, *(sums(r)[1] for r in self.results)]
        return max((peak for peak in found if peak is not None), default=None)


def _size(result: Result) -> int:
    size = EACH + len(result.stdout or ()) + len(result.stderr or ())
    return size + sum(map(len, result.files.values())) if result.files else size
