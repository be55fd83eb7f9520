"""The WebSockets of faces: `mount`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from fastapi import FastAPI
from starlette.websockets import WebSocket, WebSocketDisconnect

from pyjail.serve.counter import Counter
from pyjail.serve.face import Face, Socket
from pyjail.serve.known import Known
from pyjail.serve.service import Service


class Line:
    """`pyjail.serve.face.Line`, whose first message has been received already."""

    def __init__(self, socket: WebSocket, first: str | bytes | None) -> None:
        self._socket = socket
        self._first: list[str | bytes | None] = [first]

    async def receive(self) -> str | bytes | None:
        return self._first.pop() if self._first else await _received(self._socket)

    async def send(self, data: str | bytes) -> None:
        try:
            await (self._socket.send_text(data) if isinstance(data, str) else self._socket.send_bytes(data))
        except (WebSocketDisconnect, RuntimeError):
            return  # who is gone is told by the next `receive`

    async def close(self, code: int, reason: str) -> None:
        await _close(self._socket, code, reason)


async def _close(socket: WebSocket, code: int = 1000, reason: str = "") -> None:
    """Unless the client was quicker."""
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(code, reason or None)


async def _received(socket: WebSocket) -> str | bytes | None:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        return None
    given: str | bytes = message["text"] if message.get("text") is not None else message.get("bytes") or b""
    return given


def mount(app: FastAPI, service: Service, languages: Known, faces: Mapping[str, Face], root: Sequence[str]) -> None:
    """Add those of all faces, under their names and, of those of ``root``, at the root."""
    for face in faces.values():
        sockets: Callable[[], Sequence[Socket]] = getattr(face, "sockets", tuple)
        for socket in sockets():
            for path in (f"/{face.name}{socket.path}", *([socket.path] if face.name in root else [])):
                app.add_api_websocket_route(path, _route(service, languages, face, socket))


def _route(service: Service, languages: Known, face: Face, socket: Socket) -> Callable[[WebSocket], Awaitable[None]]:
    async def talk(connection: WebSocket) -> None:
        await connection.accept()
        try:
            async with asyncio.timeout(socket.patience):
                first = await _received(connection)  # who is there is known then
        except TimeoutError:
            await _close(connection, *socket.late)
            return
        if first is None:
            return
        scope = connection.scope
        desk = Counter(service, languages, face.name, scope.get("tenant", ""), scope.get("token"))
        await socket.talk(Line(connection, first), desk)
        await _close(connection)

    return talk
