"""``WS /v1/terminal``: a program that has a terminal, and somebody before it.

The first message is JSON: ``token``, which the edge takes out, and a `Terminal`. Then binary messages are what is typed
and what is shown; JSON says the rest: ``{"resize": [rows, columns]}``, ``{"signal": 2}``, ``{"eof": true}``,
``{"credit": n}`` from the client, ``{"state": ...}``, ``{"result": ...}`` or a problem to it. Not more than ``window``
bytes are shown before the client says by ``credit`` that it has taken so many.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastapi import APIRouter, WebSocket
from starlette.types import Message

from pyjail.serve import config, leaving
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service
from pyjail.serve.talk import GOING, Talk


class Open:
    """How many there are, and whose."""

    def __init__(self, bounds: config.Terminals) -> None:
        self._bounds, self._of = bounds, Counter[str]()

    @contextmanager
    def one(self, tenant: str) -> Iterator[None]:
        """One more while the block lasts. Raises `Problem` 429 or 503 when there are enough."""
        bounds = self._bounds
        if self._of[tenant] >= bounds.share:
            hint = "close one; share in [serve.terminals]"
            raise Problem(429, "share-full", f"{bounds.share} terminals are open already", hint=hint, retry=30)
        if self._of.total() >= bounds.count:
            raise Problem(503, "terminals-full", f"{bounds.count} terminals are open already", retry=30)
        self._of[tenant] += 1
        try:
            yield
        finally:
            self._of[tenant] -= 1
            if not self._of[tenant]:
                del self._of[tenant]


def router(service: Service) -> APIRouter:
    """Its route."""
    made = APIRouter()
    there = Open(service.config.terminals)

    @made.websocket("/v1/terminal")
    async def terminal(socket: WebSocket) -> None:
        await socket.accept()
        talk = Talk(service, socket)
        first = await _first(service, socket, talk)
        if first is not None and first["type"] != "websocket.disconnect":
            try:
                with there.one(socket.scope.get("tenant", "")):
                    await talk.take(first.get("text") or "")
            except Problem as e:
                talk.refuse(e)
        await talk.close()

    return made


async def _first(service: Service, socket: WebSocket, talk: Talk) -> Message | None:
    """Its first message; None: it did not come in time, and now it need not come."""
    hearing, ending = asyncio.ensure_future(socket.receive()), asyncio.ensure_future(service.ending.wait())
    try:
        seconds = service.config.edge.head_time
        await asyncio.wait((hearing, ending), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if hearing.done():
            return hearing.result()
        if ending.done():
            talk.go(GOING)
        else:
            talk.refuse(Problem(408, "first", f"nothing was asked for in {seconds:g} s"))
        return None
    finally:
        with suppress(RuntimeError):
            await leaving.ended(hearing, ending)
