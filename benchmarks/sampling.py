"""Numbers: medians, percentiles and spread by pyperf, and the one loop that measures contenders in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import pyperf


class Samples:
    """Seconds (or other positive numbers) that were measured of one thing."""

    def __init__(self, name: str, values: Sequence[float], unit: str = "second") -> None:
        run = pyperf.Run([max(v, 1e-9) for v in values], metadata={"name": name, "unit": unit}, collect_metadata=False)
        self.name = name
        self.values = list(values)
        self.benchmark = pyperf.Benchmark([run])

    @property
    def median(self) -> float:
        return float(self.benchmark.median())

    @property
    def spread(self) -> float:
        """The median absolute deviation, as a share of the median."""
        return float(self.benchmark.median_abs_dev()) / self.median if len(self.values) > 1 else 0.0

    def percentile(self, p: float) -> float:
        return float(self.benchmark.percentile(p))

    @property
    def p99(self) -> float:
        return self.percentile(99)


def in_turns(
    calls: Mapping[str, Callable[[], float]], rounds: int, seconds: float, pause: float = 0.0
) -> dict[str, list[float]]:
    """A, B, C, A, B, C ...: what each call returns, in each round. Ends early when the time is over, after 3 rounds."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    end = time.monotonic() + seconds
    for number in range(rounds):
        if number >= 3 and time.monotonic() > end:
            print(f"  {seconds:.0f} s are over after {number} of {rounds} rounds")
            break
        for name, call in calls.items():
            if pause:
                time.sleep(pause)  # what the one before left to be done is not this one's time
            found[name].append(call())
    return found


def timed(function: Callable[[], object]) -> Callable[[], float]:
    def call() -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return call


def samples(found: Mapping[str, Sequence[float]]) -> dict[str, Samples]:
    return {name: Samples(name, values) for name, values in found.items() if values}
