"""HTTP/1.1 and WebSockets as uvicorn speaks them, with deadlines, bounds on a head, and nothing that is ambiguous."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from pyjail.serve.config import Edge
from pyjail.serve.connections import Connections, Line
from pyjail.serve.leaving import CLIENT, Client
from pyjail.serve.old_answers import OldAnswer
from pyjail.serve.problem import PHRASES, TYPE, Problem

MESSAGE = 256 << 10  # bytes of one WebSocket message
_HEAD = 32 << 10  # bytes of a head
_HEADERS = 100
_DRESS = 64 << 10  # bytes of chunks besides what is in them, and eight times that
_PIPELINED = 8  # requests that come before the answer to the first
_REST = 5.0  # seconds in which what is left of a body is thrown away, so that its sender reads why


Told = tuple[int, Iterable[tuple[bytes, bytes]], bytes]


def options(
    edge: Edge, refused: Callable[[Problem], None] = lambda problem: None,
    at_once: Callable[[Any], Told | None] = lambda scope: None,
) -> dict[str, Any]:  # fmt: skip
    """Of `uvicorn.Config`, for a service whose edge this is. ``refused`` is told what no application sees; ``at_once``
    answers a request without one, where it is not None."""
    own = {"kept": Connections(edge), "refused": staticmethod(refused), "at_once": staticmethod(at_once)}
    return {
        "http": type("_Http", (Http,), own),
        "ws": type("_WebSocket", (WebSocket,), {}), "ws_max_size": MESSAGE,
        "ws_per_message_deflate": False, "proxy_headers": False, "server_header": False,
        "access_log": False,
    }  # fmt: skip


class Http(HttpToolsProtocol):
    """One connection.

    What its head must not be is refused by the parser (a bare LF, folded lines, two lengths, a length with chunks), or
    here. While a head comes, the client has ``head_time``; a body has ``body_time`` and a second more for each
    ``rate`` bytes of it.
    """

    kept: Connections
    refused: Callable[[Problem], None]
    at_once: Callable[[Any], Told | None]

    def connection_made(self, transport: Any) -> None:
        self._line = Line(transport, self.kept, self)
        super().connection_made(cast(asyncio.Transport, self._line))
        self._due: float | None = time.monotonic() + self.kept.edge.head_time  # for the rest of the head
        self._head = 0  # bytes of it
        self._unanswered: list[RequestResponseCycle] = []
        self._began: float | None = None  # when its body began to come
        self._got = self._dress = 0  # bytes of that; with the sizes of chunks, their extensions, and trailers
        if self._line.refused == "all":
            self._refuse(Problem(503, "connections", "there are too many connections", retry=1))
        elif self._line.refused:
            self._refuse(Problem(429, "connections", "there are too many connections of this client", retry=1))

    def connection_lost(self, exc: Exception | None) -> None:
        self._line.gone()
        for cycle in self._unanswered:  # the one that is being answered, too, when others wait behind it
            cycle.disconnected = cycle.disconnected or not cycle.response_complete
            cycle.message_event.set()
            if cycle.disconnected:
                cast("dict[str, Any]", cycle.scope)[CLIENT].go()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._due is None and self._began is None:
            self._due = time.monotonic() + self.kept.edge.head_time  # another request begins
            self._head = 0
        if self._due is not None:
            self._head += len(data)
        else:
            self._dress += len(data)
        self._came = data
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._due is not None and self._head > _HEAD:
            self._refuse(_too_long())
        elif self._began is not None and self._dress > _DRESS + 8 * self._got:
            self._refuse(Problem(400, "chunks", "the body is made of too little besides the dress of its chunks"))

    def handle_websocket_upgrade(self) -> None:
        """Also with what came behind the handshake: the client need not wait for an answer."""
        super().handle_websocket_upgrade()
        upgrade = sys.exc_info()[1]
        rest = self._came[upgrade.args[0] :] if upgrade is not None and upgrade.args else b""
        if rest and not self.transport.is_closing():
            self._line.speaker.data_received(rest)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._complete = False
        if self._due is None:  # one that came together with the end of another
            self._due, self._head = time.monotonic() + self.kept.edge.head_time, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._complete:
            return  # after a body: nothing that was decided by the head changes now
        super().on_header(name, value)
        if len(self.headers) > _HEADERS:
            raise _Refusal(Problem(431, "head", f"a request has at most {_HEADERS} headers"))

    def on_headers_complete(self) -> None:
        self._complete = True
        self._check()
        cast("dict[str, Any]", self.scope)[CLIENT] = Client(self.flow.resume_reading)
        super().on_headers_complete()
        self._due, self._began, self._got, self._dress = None, time.monotonic(), 0, 0
        if self.cycle is not None:
            if self.scope["http_version"] == "1.0":
                self.cycle.__class__ = OldAnswer
            self._unanswered = [c for c in (*self._unanswered, self.cycle) if not c.response_complete]
        if self.pipeline:
            self.flow.resume_reading()  # or nobody would see that the client of the first one leaves
        if self.parser.should_upgrade() and not self._should_upgrade():
            self.cycle.keep_alive = False  # whatever follows is not in our language

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """It is this request's turn."""
        told = None if self.parser.should_upgrade() else self.at_once(cycle.scope)
        if told is None:
            super()._start_asgi_task(cycle, app)
        else:
            self._answer(cycle, told)

    def _answer(self, cycle: RequestResponseCycle, told: Told) -> None:
        status, headers, content = told
        headers = [*cycle.default_headers, *headers]
        close = (b"connection", b"close") in headers
        if not cycle.keep_alive and not close:
            headers.append((b"connection", b"close"))
        head = b"".join(b"%s: %s\r\n" % pair for pair in headers)
        body = b"" if cycle.scope["method"] == "HEAD" else content
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, PHRASES[status].encode(), head, body))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if cycle.more_body and self._began is None:
            self._began = time.monotonic()  # its body has still to come, and is thrown away
        if close or not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def _check(self) -> None:
        version = self.parser.get_http_version()
        length, hosts, chunks = len(self.url), 0, []
        for name, value in self.headers:
            length += len(name) + len(value)
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                chunks.append(value)
        if length > _HEAD:
            raise _Refusal(_too_long())
        if version not in ("1.0", "1.1"):
            raise _Refusal(Problem(505, "version", "HTTP/1.1 is spoken here"))
        if hosts != 1:
            raise _Refusal(Problem(400, "host-header", "exactly one Host header is needed"))
        if chunks and (version == "1.0" or [value.lower() for value in chunks] != [b"chunked"]):
            raise _Refusal(Problem(501, "transfer-encoding", 'only "chunked" is taken, and only in HTTP/1.1'))
        if not self.url.startswith(b"/"):
            raise _Refusal(Problem(400, "target", "the target of a request is a path"))
        if self.parser.should_upgrade() and (chunks or self._length() or self.parser.get_method() == b"CONNECT"):
            raise _Refusal(Problem(400, "upgrade", "what is upgraded has no body"))
        if len(self.pipeline) >= _PIPELINED:
            raise _Refusal(Problem(429, "pipelined", f"more than {_PIPELINED} requests wait on one connection"))

    def _length(self) -> bool:
        return any(name == b"content-length" and value != b"0" for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        self._got += len(body)
        super().on_body(body)
        if self.pipeline and self.flow.read_paused:  # then nobody would see that the client of the first one leaves
            raise _Refusal(Problem(413, "pipelined", "a body that long waits for the answer to the request before it"))

    def on_message_complete(self) -> None:
        late = self._began is not None and self.cycle is not None and self.cycle.response_complete
        self._began = None
        super().on_message_complete()
        if late and self.timeout_keep_alive_task is None:
            self._keep()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._began is not None:  # answered before all of it was there: it has its own deadline
            self._unset_keepalive_if_required()

    def _keep(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        cause = None if error is None else error.__context__
        self._refuse(cause.problem if isinstance(cause, _Refusal) else Problem(400, "http", "that is no HTTP request"))

    def overdue(self, now: float) -> None:
        """End the connection if its client takes too long with a head or a body."""
        if self._due is not None and self.cycle is not None and not self.cycle.response_complete:
            self._due = now + self.kept.edge.head_time  # the one before is not answered: there is no hurry
        elif self._due is not None and now > self._due:
            self._refuse(Problem(408, "head", "the head of the request did not come in time"))
        elif self._began is not None:
            self._slow(now, self._began)

    def _slow(self, now: float, began: float) -> None:
        edge = self.kept.edge
        if self.flow.read_paused:
            self._began = began + self.kept.often  # it is us who do not read
        elif self.cycle is not None and self.cycle.response_complete:
            if now > began + min(_REST, edge.body_time) and not self.transport.is_closing():
                self.transport.close()
        elif now > began + edge.body_time + self._got / edge.rate:
            self._refuse(Problem(408, "body", "the body of the request did not come in time"))

    def _refuse(self, problem: Problem) -> None:
        """Answer, unless another answer is due or on its way, and close."""
        own = None if self._began is None else self.cycle  # what is wrong is in its body, or else in a head
        self._due = self._began = None
        self.refused(problem)
        answered = own is not None and own.response_started  # a second one would pass for that to another request
        if not answered and all(c.response_complete or c is own for c in self._unanswered):
            self.transport.write(_raw(problem))
        self.transport.close()


class WebSocket(WebSocketsSansIOProtocol):
    """One connection that was HTTP before. What comes before the handshake is answered is heard afterwards."""

    _early = b""

    def connection_made(self, transport: Any) -> None:
        transport.speaker = self
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        cast(Line, self.transport).gone()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated and not self.handshake_complete:
            self._early += data
            if len(self._early) > MESSAGE:
                self.transport.close()
        else:
            super().data_received(data)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self._early and self.handshake_complete:
            early, self._early = self._early, b""
            if self.conn.state is State.OPEN and not self.transport.is_closing():
                super().data_received(early)

    def overdue(self, now: float) -> None:
        """Its application says how long it lasts."""


class _Refusal(Exception):
    """Raised through the parser."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


def _too_long() -> Problem:
    return Problem(431, "head", f"the head of a request has at most {_HEAD} bytes")


def _raw(problem: Problem) -> bytes:
    said = json.dumps(problem.to_dict()).encode()
    head = [f"HTTP/1.1 {problem.status} {PHRASES[problem.status]}", f"content-type: {TYPE}"]
    head += [f"content-length: {len(said)}", "connection: close"]
    head += [f"{name.lower()}: {value}" for name, value in problem.headers.items()]
    return "\r\n".join([*head, "", ""]).encode() + said
