"""A WebSocket whose first message says who is there: `Gate`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pyjail.serve.auth import first_message
from pyjail.serve.problem import Problem

POLICY = 1008  # close code: what came is not allowed


class Gate:
    """Messages between a client and the application. The first one loses its ``token``.

    ``admit``: raises `Problem` unless that token is good; until it has returned, the application gets no message, may
    accept and close, and its client has ``patience`` seconds. None: who is there is known already.
    """

    def __init__(
        self, receive: Receive, send: Send, patience: float, admit: Callable[[str], Any] | None = None
    ) -> None:
        self._receive, self._send, self._patience, self._admit = receive, send, patience, admit
        self._first = True
        self._closed = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """The application, to its end."""
        await app(scope, self._next, self._say)

    async def _next(self) -> Message:
        if self._closed:
            return {"type": "websocket.disconnect", "code": POLICY}
        if not self._first or self._admit is None:
            message = await self._receive()
        else:
            try:
                async with asyncio.timeout(self._patience):
                    message = await self._receive()
            except TimeoutError:
                return await self._turned_away("no token came in time")
        if message["type"] != "websocket.receive" or not self._first:
            return message
        self._first = False
        text = message.get("text")
        given, rest = first_message(text) if text else ("", "")
        if text:
            message = {"type": "websocket.receive", "text": rest}
        if self._admit is not None:
            try:
                self._admit(given)
            except Problem as e:
                return await self._turned_away(e.detail)
            self._admit = None
        return message

    async def _turned_away(self, why: str) -> Message:
        self._closed = True
        await self._send({"type": "websocket.close", "code": POLICY, "reason": why})
        return {"type": "websocket.disconnect", "code": POLICY}

    async def _say(self, message: Message) -> None:
        if self._closed:
            return
        if self._admit is not None and message["type"] == "websocket.send":
            raise RuntimeError("nobody is told anything before it is known who is there")
        self._closed = message["type"] == "websocket.close"
        await self._send(message)
