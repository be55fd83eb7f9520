"""What stands before the routes: an entrance, and whoever has passed it is answered in one way."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pyjail.serve import body
from pyjail.serve.entrance import Entrance, Headers, Passed, Tell, Told, failed, with_more
from pyjail.serve.problem import Problem
from pyjail.serve.socket_gate import Gate

PASSED = "pyjail.passed"  # of a scope: its `Passed`, where whoever speaks HTTP has asked the entrance


class Edge:
    """An ASGI application before another one. ``patience``: seconds in which a WebSocket has to bring its token."""

    def __init__(self, app: ASGIApp, entrance: Entrance, patience: float) -> None:
        self._app, self._entrance, self._patience = app, entrance, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._websocket(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        passed: Passed = scope.pop(PASSED, None) or self._entrance.enter(scope)
        answer = _Answer(scope, send, self._entrance.tell, passed.more)
        if passed.told is not None:
            await answer.whole(passed.told)
            return
        if passed.reads:
            answer.reading = body.Reading(self._entrance.bodies, receive)
            receive = answer.reading.receive
        try:
            await self._app(scope, receive, answer.send)
        except Problem as e:
            await answer.problem(e)
        except Exception as e:
            problem = failed(scope, e)
            if not answer.ended:  # by who saw it before
                await answer.problem(problem)
        finally:
            if answer.reading is not None:
                answer.reading.done()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        admit = self._entrance.admit
        try:
            later = self._entrance.socket(scope)
        except Problem as e:
            scope["problem"] = e.kind
            await _refuse(scope, send, self._entrance.tell(scope, e))
            return
        gate = Gate(receive, send, self._patience, (lambda given: admit(scope, given)) if later else None)
        await gate.run(self._app, scope)


class _Answer:
    """What goes back: with ``more`` headers, and a problem of the body that was read instead of what was made of it."""

    def __init__(self, scope: Scope, send: Send, tell: Tell, more: Headers) -> None:
        self._scope, self._send, self._tell, self._more = scope, send, tell, more
        self.reading: body.Reading | None = None
        self._started = self._replaced = self.ended = False

    async def send(self, message: Message) -> None:
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            if self.reading is not None and self.reading.problem is not None:
                await self.problem(self.reading.problem)
                return
            self._started = True
            message["headers"] = with_more(message.get("headers", ()), self._more)
        else:
            self.ended = not message.get("more_body", False)
        await self._send(message)

    async def problem(self, problem: Problem) -> None:
        if self._replaced:
            return
        self._scope["problem"] = problem.kind
        if self._started:
            raise RuntimeError("the answer had begun")  # the connection is closed, the client knows that it is cut
        await self.whole(self._tell(self._scope, problem))
        self._replaced = True

    async def whole(self, told: Told) -> None:
        status, headers, content = told
        await self._send({"type": "http.response.start", "status": status, "headers": with_more(headers, self._more)})
        await self._send({"type": "http.response.body", "body": content})


async def _refuse(scope: Scope, send: Send, told: Told) -> None:
    """Before a WebSocket is one."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    status, headers, content = told
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": content})
