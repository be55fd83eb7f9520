"""Who is told of every run and every request, and counts and logs them: `Observer`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pyjail import JailError, SpecError, languages, testing
from pyjail.serve import logs
from pyjail.serve.admission import Turns
from pyjail.serve.config import Config
from pyjail.serve.faces import go_judge_answers
from pyjail.serve.go_judge_metrics import GoJudgeMetrics
from pyjail.serve.job import Job, Outcome
from pyjail.serve.metrics import Metrics
from pyjail.serve.problem import Problem
from pyjail.serve.watch import Watch, current

if TYPE_CHECKING:
    from pyjail.serve.traces import Traces

UNKNOWN = "-"  # a route, of a request that has none; a language, of a program that has none
_SOON, _MOST_DUE = 0.005, 64  # seconds, and requests, until they are counted
_WORDS, _LENGTH = 1000, 32  # how many of users' words for languages are kept, and of which length


class Waiter:
    """A request, until its answer begins. ``status``: of that; 0 before."""

    def __init__(self, kind: str, watch: Watch) -> None:
        self.kind, self.watch = kind, watch
        self.status, self.hurried = 0, False


class Observer:
    """Metrics and the log of one service."""

    def __init__(self, config: Config, turns: Turns) -> None:
        self.turns = turns
        self.metrics, self.outlet, self._config = Metrics(), logs.outlet(), config.observe
        self.log = logs.Log(self.outlet.put if config.observe.log else None)
        self._waiting: dict[Waiter, asyncio.Task[Any]] = {}
        self.traces = _traces() if config.observe.traces else None
        self._ends: list[Callable[[], None]] = []
        self._due: list[Callable[[], object]] = []
        self._languages: dict[str, str] = {}
        self._known = config.languages or None
        self.metrics.total("pyjail_log_dropped", "lines that nobody read in time", lambda: self.outlet.dropped)
        offered = config.faces.get(go_judge_answers.NAME, {}).get("enabled", True)
        self._go_judge = GoJudgeMetrics(self.metrics, turns) if offered else None
        self.metrics.watch("pyjail_running", "programs that run", lambda: turns.running)
        self.metrics.watch("pyjail_queued", "runs that wait for a slot", lambda: turns.waiting)
        self.metrics.watch("pyjail_keepers", "warm keepers", lambda: len(testing.idle()) + len(testing.busy()))

    def start(self) -> None:
        """Lines of the log are written, and metrics are served where the configuration says."""
        handler = self.log.attach()  # also where nothing is logged: what nobody takes would go to standard error
        self._ends.append(lambda: logs.detach(handler))
        if self._config.metrics:
            host, _, port = self._config.metrics.rpartition(":")
            self._ends.append(self.metrics.listen(host.strip("[]") or "127.0.0.1", int(port)))

    def later(self, do: Callable[[], object]) -> None:
        """It is done soon, with what else is to be counted: that does not keep the next request waiting, and costs less
        than each by itself."""
        self._due.append(do)
        if len(self._due) == 1:
            asyncio.get_running_loop().call_later(_SOON, self.settle)
        elif len(self._due) >= _MOST_DUE:
            self.settle()

    def settle(self) -> None:
        """What was to be done soon, is done now."""
        due, self._due = self._due, []
        for do in due:
            do()

    def end(self) -> None:
        """Undo it."""
        self.settle()
        while self._ends:
            self._ends.pop()()
        if self.traces is not None:
            self.traces.end()
        self.outlet.end()

    def refused(self, problem: Problem) -> None:
        """A connection was, before there was a request, or with half of one."""
        self.metrics.rejected(problem.kind)
        self.log.seldom("refused", status=problem.status, problem=problem.kind)

    def waits(self, seen: Waiter) -> None:
        """This task may be ended by `hurry` until its answer has `begun`."""
        task = asyncio.current_task()
        if task is not None and seen.kind == "http":
            self._waiting[seen] = task

    def begun(self, seen: Waiter) -> None:
        """See `waits`."""
        self._waiting.pop(seen, None)

    def hurry(self) -> None:
        """Requests that wait for something else than a slot are told 503; nothing that they wait for will be."""
        for seen, task in self._waiting.items():
            if not seen.watch.turn:
                seen.hurried = True
                task.cancel()

    def hurried(self, seen: Waiter) -> bool:
        """Whether it was `hurry` alone that cancelled this task."""
        task = asyncio.current_task()
        return seen.hurried and not seen.status and task is not None and not task.uncancel()

    def language(self, name: str) -> str:
        """What it is called in the table; a user's own word for it is no label."""
        if not name:
            return UNKNOWN
        if name not in self._languages:
            try:
                found = languages.find(name, self._known).name
            except SpecError:
                return "unknown"
            if len(self._languages) >= _WORDS or len(name) > _LENGTH:
                return found
            self._languages[name] = found
        return self._languages[name]

    def ran(self, job: Job, outcome: Outcome) -> None:
        """A run has ended. Its answer does not wait until that is counted and logged; a span has to be within that of
        its request."""
        watch = current.get()
        if watch.after is None or self.traces is not None:
            self._ran(job, outcome, watch)
        else:
            watch.after.append(lambda: self._ran(job, outcome, watch))

    def _ran(self, job: Job, outcome: Outcome, watch: Watch) -> None:
        result = outcome.result
        verdict = "not_started" if result is None else result.verdict.value
        if result is None and outcome.compile is not None:
            verdict = "compile_error"
        language = self.language(job.language)
        seconds = None if result is None else result.usage.wall_time
        compiled = outcome.compile.usage.wall_time if outcome.compile is not None else None
        watch.ran += (seconds or 0.0) + (compiled or 0.0)
        watch.queued += outcome.queued
        self.metrics.run(job.label, verdict, language, seconds, outcome.queued)
        if self._go_judge is not None and job.label == go_judge_answers.NAME and result is not None:
            self._go_judge.ran(result)
        about: dict[str, Any] = {"face": job.label, "language": language, "verdict": verdict}
        if self.traces is not None:
            self.traces.run((seconds or 0.0) + (compiled or 0.0) + outcome.queued, {**about, "queue_s": outcome.queued})
        if result is not None:
            about |= {
                "limit": sorted(result.limits_hit), "wall": seconds, "cpu": result.usage.cpu_time,
                "memory": result.usage.memory_peak, "bytes_out": len(result.stdout or b"") + len(result.stderr or b""),
            }  # fmt: skip
        about["queue_s"] = round(outcome.queued, 6)
        about["bytes_in"] = len(job.stdin) + sum(map(_size, job.files.values()))
        if job.source:
            about["sha256"] = digest(job.source)
        self.log.line("run", request_id=watch.id, tenant=watch.tenant, **about)

    def failed(self, job: Job, e: BaseException) -> None:
        """A run did not come to an end of its own."""
        if isinstance(e, Problem):
            if e.kind == "ended":
                self.metrics.cancelled("shutdown")
            return  # it is counted as a request that was refused
        if isinstance(e, JailError) and not isinstance(e, SpecError):
            self.metrics.run(job.label, "jail_error", self.language(job.language), None, 0.0)
            if self.traces is not None:
                self.traces.run(0.0, {"face": job.label, "verdict": "jail_error"})
            watch = current.get()
            self.log.line(
                "run", "error", request_id=watch.id, tenant=watch.tenant, face=job.label, verdict="jail_error",
                where=logs.where(e),
            )  # fmt: skip
        elif not isinstance(e, Exception):  # cancelled
            self.metrics.cancelled("client")


def digest(source: str | Mapping[str, str]) -> str:
    """Of a program's text; of several files, in their order."""
    texts = [source] if isinstance(source, str) else [text for pair in source.items() for text in pair]
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def _size(content: Any) -> int:
    return len(content) if isinstance(content, (bytes, str)) else 0


def _traces() -> Traces:
    from pyjail.serve import traces

    return traces.Traces()
