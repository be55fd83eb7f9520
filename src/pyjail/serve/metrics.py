"""What is counted, for Prometheus. No label has a user's text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_MOST = 500  # values of labels together, which are ours: more would be an error of ours, and is told as "other"


class Metrics:
    """Those of one service. `run`, `request`, ... count; what is asked for when it is scraped is added by `watch`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._runs = Counter(
            "pyjail_runs", "programs that were run", ("face", "verdict", "language"), registry=self.registry
        )
        self._run_seconds = self._histogram("pyjail_run_seconds", "wall-clock seconds of programs", _SECONDS)
        self._queue_seconds = self._histogram("pyjail_queue_seconds", "seconds that runs waited for a slot", _SECONDS)
        self._overhead = self._histogram(
            "pyjail_overhead_seconds", "seconds of requests beside those of their programs", _SHORT
        )
        self._rejected = self._counter("pyjail_rejected", "requests that were refused", "reason")
        self._cancelled = self._counter("pyjail_cancelled", "runs that were cancelled", "reason")
        self._requests = Counter("pyjail_http_requests", "answers", ("route", "status"), registry=self.registry)
        self._children: dict[tuple[Any, ...], Any] = {}

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, what, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, what: str, label: str) -> Counter:
        return Counter(name, what, (label,), registry=self.registry)

    def _inc(self, counter: Counter, *labels: str) -> None:
        """By one; the counter of these labels is looked up once."""
        key = (counter, *labels)
        child = self._children.get(key)
        if child is None:
            if len(self._children) >= _MOST:
                child = counter.labels(*("other" for _ in labels))
            else:
                child = self._children[key] = counter.labels(*labels)
        child.inc()

    def run(self, face: str, verdict: str, language: str, seconds: float | None, queued: float) -> None:
        """A run that has ended."""
        self._inc(self._runs, face, verdict, language)
        self._queue_seconds.observe(queued)
        if seconds is not None:
            self._run_seconds.observe(seconds)

    def cancelled(self, reason: str) -> None:
        """A run that nobody waits for any more."""
        self._inc(self._cancelled, reason)

    def rejected(self, reason: str) -> None:
        """A request that was refused."""
        self._inc(self._rejected, reason)

    def request(self, route: str, status: int, overhead: float | None) -> None:
        """An answer; ``overhead``: what it took beside its programs, where it had some."""
        self._inc(self._requests, route, str(status))
        if overhead is not None:
            self._overhead.observe(max(0.0, overhead))

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


class _Total:
    """A counter that somebody else counts."""

    def __init__(self, name: str, what: str, value: Callable[[], int]) -> None:
        self._name, self._what, self._value = name, what, value

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._what, value=self._value())
