"""Who is told of every run and every request, and counts and logs them: `Observer`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pyjail import JailError, SpecError, languages, testing
from pyjail.serve import logs
from pyjail.serve.admission import Turns
from pyjail.serve.config import Config
from pyjail.serve.edge import Tell, tell
from pyjail.serve.faces import go_judge_answers
from pyjail.serve.go_judge_metrics import GoJudgeMetrics
from pyjail.serve.job import Job, Outcome
from pyjail.serve.metrics import Metrics
from pyjail.serve.problem import Problem
from pyjail.serve.watch import Watch, current

if TYPE_CHECKING:
    from pyjail.serve.traces import Traces

UNKNOWN = "-"  # a route, of a request that has none; a language, of a program that has none
_WORDS, _LENGTH = 1000, 32  # how many of users' words for languages are kept, and of which length
_REFUSED = frozenset({400, 401, 403, 408, 413, 415, 421, 422, 429, 431, 503})


class Observer:
    """Metrics and the log of one service."""

    def __init__(self, config: Config, turns: Turns) -> None:
        self.turns = turns
        self.metrics, self.outlet, self._config = Metrics(), logs.outlet(), config.observe
        self.log = logs.Log(self.outlet.put if config.observe.log else None)
        self._waiting: dict[_Seen, asyncio.Task[Any]] = {}
        self.traces = _traces() if config.observe.traces else None
        self._ends: list[Callable[[], None]] = []
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

    def end(self) -> None:
        """Undo it."""
        while self._ends:
            self._ends.pop()()
        if self.traces is not None:
            self.traces.end()
        self.outlet.end()

    def refused(self, problem: Problem) -> None:
        """A connection was, before there was a request, or with half of one."""
        self.metrics.rejected(problem.kind)
        self.log.seldom("refused", status=problem.status, problem=problem.kind)

    def waits(self, seen: _Seen) -> None:
        """This task may be ended by `hurry` until its answer has `begun`."""
        task = asyncio.current_task()
        if task is not None and seen.kind == "http":
            self._waiting[seen] = task

    def begun(self, seen: _Seen) -> None:
        """See `waits`."""
        self._waiting.pop(seen, None)

    def hurry(self) -> None:
        """Requests that wait for something else than a slot are told 503; nothing that they wait for will be."""
        for seen, task in self._waiting.items():
            if not seen.watch.turn:
                seen.hurried = True
                task.cancel()

    def hurried(self, seen: _Seen) -> bool:
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


class Observed:
    """An ASGI application before all others: each request is counted and logged when its answer has ended. While the
    service is being ended, connections are closed after their answers, and what `Observer.hurry` ends is 503."""

    def __init__(self, app: ASGIApp, observer: Observer, tell: Tell = tell) -> None:
        self._app, self._observer, self._tell = app, observer, tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        seen = _Seen(scope, receive, send, self._observer)
        reset = current.set(seen.watch)
        began = time.monotonic()
        self._observer.waits(seen)
        try:
            if self._observer.traces is None:
                await self._app(scope, seen.receive, seen.send)
            else:
                await self._traced(self._observer.traces, scope, seen)
        except asyncio.CancelledError:
            if not self._observer.hurried(seen):
                raise
            await self._ended(scope, seen)
        finally:
            self._observer.begun(seen)
            self._observer.turns.came()  # or it never will
            current.reset(reset)
            # What goes out now does not wait for that.
            asyncio.get_running_loop().call_soon(self._over, scope, seen, time.monotonic() - began)

    async def _ended(self, scope: Scope, seen: _Seen) -> None:
        problem = Problem(
            503, "ended", "the service was ended before this was", retry=self._observer.turns.retry_after()
        )
        scope["problem"] = problem.kind
        status, headers, content = self._tell(scope, problem)
        await seen.send({"type": "http.response.start", "status": status, "headers": headers})
        await seen.send({"type": "http.response.body", "body": content})

    async def _traced(self, traces: Traces, scope: Scope, seen: _Seen) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with traces.request(headers) as span:
            try:
                await self._app(scope, seen.receive, seen.send)
            finally:
                traces.ended(span, method(scope), template(scope), seen.status)

    def _over(self, scope: Scope, seen: _Seen, seconds: float) -> None:
        route, watch = template(scope), seen.watch
        after, watch.after = watch.after or (), None
        for do in after:
            do()
        overhead = seconds - watch.ran - watch.queued if watch.ran else None
        self._observer.metrics.request(route, seen.status, overhead)
        problem = scope.get("problem", "")
        if problem and seen.status in _REFUSED:
            self._observer.metrics.rejected(problem)
        about = {"problem": problem} if problem else {}
        self._observer.log.line(
            "request", "error" if seen.status == 500 else "info", request_id=watch.id, tenant=watch.tenant,
            method=method(scope), route=route, status=seen.status, seconds=round(seconds, 6),
            bytes_in=seen.bytes_in, bytes_out=seen.bytes_out, **about,
        )  # fmt: skip


def _traces() -> Traces:
    from pyjail.serve import traces

    return traces.Traces()


def method(scope: Scope) -> str:
    """That of HTTP; a WebSocket has none."""
    return str(scope.get("method", "WEBSOCKET"))


def template(scope: Scope) -> str:
    """Of the route that a request had, never its path: that is the client's text."""
    path = getattr(scope.get("route"), "path", UNKNOWN)
    return path if isinstance(path, str) else UNKNOWN


class _Seen:
    """What goes through."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, observer: Observer) -> None:
        self._scope, self._receive, self._send, self._observer = scope, receive, send, observer
        self.kind, self.hurried = scope["type"], False
        self.watch = Watch(after=[] if self.kind == "http" else None)
        self.status = self.bytes_in = self.bytes_out = 0

    async def receive(self) -> Message:
        self._know()
        message = await self._receive()
        if body := message.get("body") or message.get("bytes"):
            self.bytes_in += len(body)
        return message

    async def send(self, message: Message) -> None:
        self._know()
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
            self._observer.begun(self)
            if self._observer.turns.draining:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        elif kind == "websocket.accept":
            self.status = 101
        elif kind == "websocket.close" and not self.status:
            self.status = 403
        elif body := message.get("body") or message.get("bytes"):
            self.bytes_out += len(body)
        await self._send(message)

    def _know(self) -> None:
        if not self.watch.id:
            self.watch.id = self._scope.get("request_id", "")
        self.watch.tenant = self._scope.get("tenant", "")
