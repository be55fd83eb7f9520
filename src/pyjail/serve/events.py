"""A run as server-sent events: `Stream`, from any `Place` on."""

from __future__ import annotations

import asyncio
import base64
import codecs
import json
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from pyjail.serve import answers, errors, leaving, model
from pyjail.serve.live import STREAMS, Live, length
from pyjail.serve.problem import TYPE, Problem

HEARTBEAT = 15.0
PIECE = 16 << 10  # bytes of output in one event
_ID = re.compile(r"(\d{1,15})\.(\d{1,15})(\.end)?")
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(frozen=True)
class Place:
    """How much of both streams somebody has; ``ended``: all of it, the result too. Its text is an event's id."""

    stdout: int = 0
    stderr: int = 0
    ended: bool = False

    @classmethod
    def of(cls, text: str) -> Place:
        """The beginning, where that is no place."""
        found = _ID.fullmatch(text)
        return cls(int(found[1]), int(found[2]), bool(found[3])) if found else cls()

    def __str__(self) -> str:
        return f"{self.stdout}.{self.stderr}{'.end' if self.ended else ''}"


def event(name: str, data: Mapping[str, Any], id: Place | None = None) -> bytes:
    """One, as it is sent. JSON has no line ends, so no program can write an event of its own."""
    return b"%s%s\n\n" % (_head(name, id), json.dumps(data, separators=(",", ":")).encode())


def _head(name: str, id: Place | None) -> bytes:
    return (f"event: {name}\n" + (f"id: {id}\n" if id is not None else "") + "data: ").encode()


async def _result(live: Live, whole: Mapping[str, Any], at: Place) -> AsyncGenerator[bytes, None]:
    """The last event; of a long one, piece by piece."""
    if length(whole) <= answers.LONG:
        yield event("result", whole, at)
        return
    try:
        with answers.held(live.tenant, answers.weight(whole)):
            yield _head("result", at)
            made = answers.blocks(whole, ascii_only=True)
            while (block := await asyncio.to_thread(next, made, None)) is not None:
                yield block
            yield b"\n\n"
    except Problem as e:
        yield event("result", {"id": live.id, "state": live.state, "problem": e.to_dict()}, at)


def problem(e: Exception) -> dict[str, Any]:
    """What went wrong, where it is too late for a status."""
    return errors.of(e).to_dict()


def piece(data: bytes, whole: bool) -> tuple[dict[str, Any], int]:
    """What an event says of these bytes, and of how many: text up to the last whole character, unless there is no more
    to come (``whole``); or what is no text, in base64."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(data, whole)
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(data).decode()}, len(data)
    return {"t": text}, len(data) - len(decoder.getstate()[0])


async def of(live: Live, at: Place, receipt: bool = False, output: bool = True) -> AsyncGenerator[bytes, None]:
    """All events from there on. Who reads slower than the program writes is told so ("lagging"), and goes on with what
    is kept; he holds nobody up. ``receipt``, ``output``: whether the result has them."""
    told: Any = None
    usage: Any = None
    rows = 0
    while True:
        version = live.version
        if told != (live.state, live.step):
            told = (live.state, live.step)
            yield event("state", {"id": live.id, "state": live.state, **({"step": live.step} if live.step else {})}, at)
        more = False
        for name in STREAMS:
            at, written = _next(live, name, at)
            if written is not None:
                more = True
                yield written
        rows = min(rows, len(live.rows))  # (It began anew.)
        for said in live.rows[rows:]:
            rows += 1
            yield event("test", said)
        if live.usage is not usage and live.usage is not None:
            usage = live.usage
            yield event("usage", usage)
        if more:
            continue
        if live.ended and live.version == version:
            whole = {"id": live.id, "state": live.state, **model.shown(live.result or {}, receipt, output)}
            async with aclosing(_result(live, whole, replace(at, ended=True))) as parts:
                async for part in parts:
                    yield part
            return
        if not await live.change(version, HEARTBEAT):
            yield b": \n\n"


def _next(live: Live, name: str, at: Place) -> tuple[Place, bytes | None]:
    """The next event of that stream, and the place behind it; None: there is none now."""
    window = live.streams[name]
    begin = getattr(at, name)
    if begin < window.start or begin > window.total:  # (It began anew, after a worker's death.)
        to = window.start if begin < window.start else 0
        at = _moved(at, name, to)
        return at, event("lagging", {"stream": name, "from": begin, "to": to}, at)
    data = window.read(begin, PIECE)
    if not data:
        return at, None
    said, size = piece(data, bool(live.ended) and begin + len(data) == window.total)
    if not size:
        return at, None
    at = _moved(at, name, begin + size)
    return at, event(name, {"o": begin, **said}, at)


def _moved(at: Place, name: str, to: int) -> Place:
    return replace(at, stdout=to) if name == "stdout" else replace(at, stderr=to)


class Stream(Response):
    """The answer that they are. ``work``: what runs meanwhile, and ends when the client goes. More as in `of`."""

    def __init__(
        self, live: Live, at: Place, work: Callable[[], Coroutine[Any, Any, None]] | None = None, *,
        receipt: bool = False, output: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(headers=_HEADERS, media_type="text/event-stream")
        del self.headers["content-length"]
        self._live, self._at, self._work = live, at, work
        self._asked = receipt, output

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them, until the last one is sent or the client is gone."""
        live, task = self._live, None
        if self._work is not None:
            task = live.task = asyncio.create_task(self._work())
            await asyncio.sleep(0)  # who is refused at once is told by the status
        refused = (live.result or {}).get("problem") if live.ended else None
        if refused is not None and task is not None:
            headers = {"Retry-After": str(refused["retry"])} if refused.get("retry") else None
            await JSONResponse(refused, refused["status"], headers, TYPE)(scope, receive, send)
            return
        try:
            await leaving.while_there(scope, self._send(send))
        except leaving.Left:
            pass
        finally:
            if task is not None:
                await leaving.ended(task)
                live.end("cancelled")

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(of(self._live, self._at, *self._asked)) as every:  # however it ends
            async for said in every:
                await send({"type": "http.response.body", "body": said, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def followed(live: Live, call: Callable[[], Coroutine[Any, Any, Mapping[str, Any]]], receipt: bool = False) -> Stream:
    """The events of what this call does, whose outcome is the result; it is cancelled when the client goes."""

    async def work() -> None:
        try:
            live.end("done", await call())
        except asyncio.CancelledError:
            live.end("cancelled")
            raise
        except Exception as e:
            live.end("done", {"problem": problem(e)})
        finally:
            live.task = None

    return Stream(live, Place(), work, receipt=receipt)
