"""What go-judge's dashboards look for, by its names, of the runs of its face: `GoJudgeMetrics`."""

from __future__ import annotations

from prometheus_client import Histogram

from pyjail import Result
from pyjail.serve.admission import Turns
from pyjail.serve.faces.go_judge_answers import NAME
from pyjail.serve.faces.verdicts import told
from pyjail.serve.metrics import Metrics

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1, 2, 5, 10, 20, 50, 100)
_BYTES = tuple(1 << power for power in range(12, 33))


class GoJudgeMetrics:
    """Beside the service's own, on the same page."""

    def __init__(self, metrics: Metrics, turns: Turns) -> None:
        self._seconds, self._bytes = (
            Histogram(f"go_judge_exec_{name}", what, ("status",), buckets=buckets, registry=metrics.registry)
            for name, what, buckets in (
                ("time_seconds", "CPU seconds of go-judge's commands", _SECONDS),
                ("memory_bytes", "memory of go-judge's commands", _BYTES),
            )
        )
        metrics.watch("go_judge_worker_queue_count", "requests that wait, of all faces", lambda: turns.waiting)
        metrics.watch("go_judge_worker_running_count", "programs that run, of all faces", lambda: turns.running)

    def ran(self, result: Result) -> None:
        """A command has ended."""
        status = str(told(NAME, result)[0].word)
        self._seconds.labels(status).observe(result.usage.cpu_time or 0.0)
        self._bytes.labels(status).observe(result.usage.memory_peak or 0)
