"""What most requests ask for is found by method and path, at once: `Direct`.

A framework's way to a route, and the layers around it, take as long as all that a short run is asked with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pyjail import JailError
from pyjail.serve import errors
from pyjail.serve.crowd import Template
from pyjail.serve.leaving import Left
from pyjail.serve.problem import Problem

Endpoint = Callable[[Request], Awaitable[Response]]
Endpoints = Mapping[tuple[str, str], tuple[Template, Endpoint]]  # by method and path


class Direct:
    """An ASGI application before another one, which has all that is not here."""

    def __init__(self, app: ASGIApp, endpoints: Endpoints) -> None:
        self._app, self._endpoints = app, endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"], endpoint = found
        request = Request(scope, receive, send)
        try:
            answer = await endpoint(request)
        except (Left, ClientDisconnect):
            answer = Response(status_code=errors.GONE)
        except (Problem, JailError) as e:
            answer = errors.response(request, errors.of(e))
        await answer(scope, receive, send)
