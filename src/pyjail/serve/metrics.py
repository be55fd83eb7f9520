"""What is counted, for Prometheus. No label has a user's text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.utils import floatToGoString

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_MOST = (
    200  # values of the labels of one counter, which are ours: more would be an error of ours, and is told as "other"
)


class Metrics:
    """Those of one service. `run`, `request`, ... count; what is asked for when it is scraped is added by `watch`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._runs = self._counter("pyjail_runs", "programs that were run", "face", "verdict", "language")
        self._run_seconds = self._spread("pyjail_run_seconds", "wall-clock seconds of programs", _SECONDS)
        self._queue_seconds = self._spread("pyjail_queue_seconds", "seconds that runs waited for a slot", _SECONDS)
        self._overhead = self._spread(
            "pyjail_overhead_seconds", "seconds of requests beside those of their programs", _SHORT
        )
        self._rejected = self._counter("pyjail_rejected", "requests that were refused", "reason")
        self._cancelled = self._counter("pyjail_cancelled", "runs that were cancelled", "reason")
        self._requests = self._counter("pyjail_http_requests", "answers", "route", "status")

    def _spread(self, name: str, what: str, bounds: tuple[float, ...]) -> Spread:
        made = Spread(name, what, bounds)
        self.registry.register(made)
        return made

    def _counter(self, name: str, what: str, *labels: str) -> Tally:
        made = Tally(name, what, labels)
        self.registry.register(made)
        return made

    def run(self, face: str, verdict: str, language: str, seconds: float | None, queued: float) -> None:
        """A run that has ended."""
        self._runs.add(face, verdict, language)
        self._queue_seconds.add(queued)
        if seconds is not None:
            self._run_seconds.add(seconds)

    def cancelled(self, reason: str) -> None:
        """A run that nobody waits for any more."""
        self._cancelled.add(reason)

    def rejected(self, reason: str) -> None:
        """A request that was refused."""
        self._rejected.add(reason)

    def request(self, route: str, status: int, overhead: float | None) -> None:
        """An answer; ``overhead``: what it took beside its programs, where it had some."""
        self._requests.add(route, str(status))
        if overhead is not None:
            self._overhead.add(max(0.0, overhead))

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """One more gauge, whose value is asked for."""
        Gauge(name, what, registry=self.registry).set_function(value)

    def total(self, name: str, what: str, value: Callable[[], int]) -> None:
        """One more counter, whose value is asked for."""
        self.registry.register(_Total(name, what, value))

    def watch_each(self, name: str, what: str, label: str, values: Mapping[str, Callable[[], float]]) -> None:
        """One more gauge, for each value of a label."""
        gauge = Gauge(name, what, (label,), registry=self.registry)
        for value, function in values.items():
            gauge.labels(value).set_function(function)

    def page(self) -> bytes:
        """In the text format."""
        found: bytes = generate_latest(self.registry)
        return found

    def listen(self, address: str, port: int) -> Callable[[], None]:
        """Serve them there, too, on a thread; what ends it. OSError."""
        server, thread = start_http_server(port, address, self.registry)

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return end


class Tally:
    """A counter with labels, of one thread: prometheus_client's own takes a lock and ten calls for each."""

    def __init__(self, name: str, what: str, labels: tuple[str, ...]) -> None:
        self._name, self._what, self._labels = name, what, labels
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, *labels: str) -> None:
        """One more."""
        counts = self._counts
        if labels not in counts:
            if len(counts) >= _MOST:
                labels = ("other",) * len(labels)
            counts.setdefault(labels, 0)
        counts[labels] += 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        made = CounterMetricFamily(self._name, self._what, labels=self._labels)
        for labels, count in self._counts.copy().items():
            made.add_metric(labels, count)
        yield made


class Spread:
    """A histogram, of one thread."""

    def __init__(self, name: str, what: str, bounds: tuple[float, ...]) -> None:
        self._name, self._what, self._bounds = name, what, bounds
        self._counts, self._sum = [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        counts = accumulate(self._counts)
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(bounds, counts, strict=True))
        yield HistogramMetricFamily(self._name, self._what, buckets=buckets, sum_value=self._sum)


class _Total:
    """A counter that somebody else counts."""

    def __init__(self, name: str, what: str, value: Callable[[], int]) -> None:
        self._name, self._what, self._value = name, what, value

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._what, value=self._value())
