"""Each request is counted and logged: `Observed`; also one that is answered by its head alone: `at_once`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pyjail.serve import watch
from pyjail.serve.edge import PASSED
from pyjail.serve.entrance import Entrance, Tell, Told, tell
from pyjail.serve.observer import UNKNOWN, Observer, Waiter
from pyjail.serve.problem import Problem

if TYPE_CHECKING:
    from pyjail.serve.traces import Traces

_REFUSED = frozenset({400, 401, 403, 408, 413, 415, 421, 422, 429, 431, 503})


class Observed:
    """An ASGI application before all others: each request is counted and logged when its answer has ended. While the
    service is being ended, connections are closed after their answers, and what `Observer.hurry` ends is 503."""

    def __init__(self, app: ASGIApp, observer: Observer, tell: Tell = tell) -> None:
        self._app, self._observer, self._tell = app, observer, tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        seen = Seen(scope, receive, send, self._observer)
        reset = watch.current.set(seen.watch)
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
            watch.current.reset(reset)
            self._observer.later(partial(_over, self._observer, scope, seen, time.monotonic() - began))

    async def _ended(self, scope: Scope, seen: Seen) -> None:
        problem = Problem(
            503, "ended", "the service was ended before this was", retry=self._observer.turns.retry_after()
        )
        scope["problem"] = problem.kind
        status, headers, content = self._tell(scope, problem)
        await seen.send({"type": "http.response.start", "status": status, "headers": headers})
        await seen.send({"type": "http.response.body", "body": content})

    async def _traced(self, traces: Traces, scope: Scope, seen: Seen) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with traces.request(headers) as span:
            try:
                await self._app(scope, seen.receive, seen.send)
            finally:
                traces.ended(span, method(scope), template(scope), seen.status)


def at_once(observer: Observer, entrance: Entrance) -> Callable[[Scope], Told | None]:
    """What answers a request by its head alone, without a task and before its body comes: who is refused then costs
    less than half of what it costs else. None: the application has to be asked."""

    def told(scope: Scope) -> Told | None:
        if observer.traces is not None:
            return None  # a span is of a request that the application has
        began = time.monotonic()
        scope[PASSED] = passed = entrance.enter(scope)
        if passed.told is None:
            return None
        status, headers, content = passed.told
        observer.later(partial(_refused, observer, scope, status, time.monotonic() - began, len(content)))
        return status, [*headers, (b"connection", b"close")] if observer.turns.draining else headers, content

    return told


def _over(observer: Observer, scope: Scope, seen: Seen, seconds: float) -> None:
    after, seen.watch.after = seen.watch.after or (), None
    for do in after:
        do()
    _count(observer, scope, seen.status, seconds, seen.bytes_in, seen.bytes_out)


def _refused(observer: Observer, scope: Scope, status: int, seconds: float, went: int) -> None:
    _count(observer, scope, status, seconds, 0, went, observer.log.seldom if scope.get("problem") else None)


def _count(
    observer: Observer, scope: Scope, status: int, seconds: float, came: int, went: int,
    line: Callable[..., None] | None = None,
) -> None:  # fmt: skip
    route, known = template(scope), watch.of(scope)
    overhead = seconds - known.ran - known.queued if known.ran else None
    observer.metrics.request(route, status, overhead)
    problem = scope.get("problem", "")
    if problem and status in _REFUSED:
        observer.metrics.rejected(problem)
    about = {"problem": problem} if problem else {}
    (line or observer.log.line)(
        "request", "error" if status == 500 else "info", request_id=scope.get("request_id", ""),
        tenant=scope.get("tenant", ""), method=method(scope), route=route, status=status, seconds=round(seconds, 6),
        bytes_in=came, bytes_out=went, **about,
    )  # fmt: skip


def method(scope: Scope) -> str:
    """That of HTTP; a WebSocket has none."""
    return str(scope.get("method", "WEBSOCKET"))


def template(scope: Scope) -> str:
    """Of the route that a request had, never its path: that is the client's text."""
    path = getattr(scope.get("route"), "path", UNKNOWN)
    return path if isinstance(path, str) else UNKNOWN


class Seen(Waiter):
    """What goes through."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, observer: Observer) -> None:
        self._scope, self._receive, self._send, self._observer = scope, receive, send, observer
        super().__init__(scope["type"], watch.of(scope))
        self.bytes_in = self.bytes_out = 0

    async def receive(self) -> Message:
        self.know()
        message = await self._receive()
        if body := message.get("body") or message.get("bytes"):
            self.bytes_in += len(body)
        return message

    async def send(self, message: Message) -> None:
        self.know()
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

    def know(self) -> None:
        """Whose request it is."""
        if not self.watch.id:
            self.watch.id = self._scope.get("request_id", "")
        self.watch.tenant = self._scope.get("tenant", "")
