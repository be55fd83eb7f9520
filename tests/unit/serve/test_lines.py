"""WebSockets of faces whose clients are gone: no error of the service, whenever that is seen."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import ClassVar

import pytest
from fastapi import FastAPI, WebSocketDisconnect

from pyjail.serve import lines
from pyjail.serve.face import Socket


class Gone:
    """A connection whose other end is not there any more, which nobody has heard of yet."""

    scope: ClassVar[dict] = {}

    def __init__(self, first):
        self.first, self.closed = first, []

    async def accept(self):
        pass

    async def receive(self):
        if self.first is None:
            await asyncio.Event().wait()
        return {"type": "websocket.receive", "text": self.first}

    async def close(self, *how):
        self.closed.append(how)
        raise WebSocketDisconnect(1006)


async def _said(line, desk):
    await line.close(4002, "x")


@pytest.mark.parametrize(
    ("first", "closed"), [(None, [(4001, "late")]), ("{}", [(4002, "x"), (1000, None)])], ids=["late", "talked"]
)
def test_a_client_that_left_at_the_same_time_is_no_error(first, closed):
    app = FastAPI()
    face = SimpleNamespace(name="x", sockets=lambda: [Socket("/s", _said, 0.01, (4001, "late"))])
    service = SimpleNamespace(config=SimpleNamespace(faces={}))
    lines.mount(app, service, None, {"x": face}, [])
    connection = Gone(first)
    asyncio.run(next(route for route in app.routes if getattr(route, "path", "") == "/x/s").endpoint(connection))
    assert connection.closed == closed
