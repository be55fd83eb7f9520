"""A route with the edge before it, in process: what it is asked and what it answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pyjail.serve import crowd
from pyjail.serve.config import Config, Token
from pyjail.serve.edge import Edge
from pyjail.serve.entrance import Entrance

SECRET = "kept-secret-7f3a"
TOKEN = Token("team", hashlib.sha256(SECRET.encode()).hexdigest())
JSON = {"content-type": "application/json"}
PASS = {"authorization": f"Bearer {SECRET}"}


class Route:
    """An application that reads its body and says what it got."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"route"})


class Answer:
    def __init__(self, sent: list[Any]) -> None:
        self.status = sent[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        self.body = b"".join(message.get("body", b"") for message in sent[1:])

    @property
    def kind(self) -> str:
        return str(json.loads(self.body)["type"]).rpartition(":")[2] if self.status >= 400 else ""


class Before:
    """A `Route` with an edge before it."""

    def __init__(self, config: Config, route: Any = None, refusal: crowd.Refusal = crowd.nobody) -> None:
        self.route = Route() if route is None else route
        self.edge = Edge(self.route, Entrance(config, refusal=refusal), config.edge.head_time)

    def ask(
        self, method: str = "POST", path: str = "/v1/runs", headers: Mapping[str, str] | None = None, body: bytes = b"",
        *, peer: str = "9.9.9.9", query: str = "", chunks: list[bytes] | None = None, again: Sequence[tuple[str, str]] = (),
    ) -> Answer:  # fmt: skip
        given = {"host": "localhost:8000", **(JSON if body else {}), **(headers or {})}
        if body and chunks is None:
            given.setdefault("content-length", str(len(body)))
        parts = [body] if chunks is None else chunks
        came = [{"type": "http.request", "body": p, "more_body": n < len(parts) - 1} for n, p in enumerate(parts)]
        sent: list[Any] = []

        async def receive() -> Any:
            return came.pop(0) if came else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": method, "path": path, "query_string": query.encode(), "client": (peer, 1),
            "server": ("127.0.0.1", 8000), "headers": [
                (n.lower().encode(), v.encode("latin-1")) for n, v in [*given.items(), *again] if v is not None
            ],
        }  # fmt: skip
        asyncio.run(self.edge(scope, receive, send))
        self.unread = came
        return Answer(sent)
