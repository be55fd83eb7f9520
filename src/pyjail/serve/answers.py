"""Answers that are long: made in pieces by a thread, so that no other request waits while they are.

Neither JSON nor base64 lets another thread run until it is through with a value; of a value of 60 MB that is a second.
"""

from __future__ import annotations

import asyncio
import binascii
import codecs
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from fastapi.responses import JSONResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pyjail import Result
from pyjail.serve import leaving, model
from pyjail.serve.encoded import encoded
from pyjail.serve.job import Outcome
from pyjail.serve.live import length
from pyjail.serve.problem import TYPE, Problem

LONG = 1 << 20  # bytes that are nothing to wait for
MOST = 512 << 20  # bytes of all long answers that wait to be read
PIECE = 192 << 10  # bytes at a time; base64 of several pieces is one text where each has a multiple of three


def long(outcome: Outcome) -> bool:
    """Whether its answer is."""
    return _size(outcome.result) > LONG or _size(outcome.compile) > LONG


def _size(result: Result | None) -> int:
    if result is None:
        return 0
    return len(result.stdout or b"") + len(result.stderr or b"") + sum(map(len, result.files.values()))


async def told(outcome: Outcome, receipt: bool) -> dict[str, Any]:
    """As `model.told`."""
    return await asyncio.to_thread(_told, outcome, receipt) if long(outcome) else model.told(outcome, receipt)


def _told(outcome: Outcome, receipt: bool) -> dict[str, Any]:
    light = replace(outcome, result=_light(outcome.result), compile=_light(outcome.compile))
    said = model.told(light, receipt)
    for name, result in (("compile", outcome.compile), ("result", outcome.result)):
        if result is not None:
            said[name] |= {"stdout": packed(result.stdout), "stderr": packed(result.stderr)}
    if outcome.result is not None:
        files = zip(said["result"]["files"], outcome.result.files.values(), strict=True)
        said["result"]["files"] = {name: packed(data) for name, data in files}
    return said


def _light(result: Result | None) -> Result | None:
    """It without what is long."""
    return result and replace(result, stdout=None, stderr=None, files=dict.fromkeys(result.files, b""))


def packed(data: Any) -> Any:
    """As `Result.to_dict` has it: {"bytes": text}, or {"base64": ...} where they are none."""
    if not isinstance(data, bytes):
        return data
    parts = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return {"bytes": "".join([*map(decoder.decode, parts), decoder.decode(b"", True)])}
    except UnicodeDecodeError:
        return {"base64": "".join(binascii.b2a_base64(part, newline=False).decode() for part in parts)}


async def response(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """It as an answer."""
    if length(content) > LONG:
        return Long(content, status, headers)
    return Json(content, status, headers)


class Json(Response):
    """An answer that is short."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return encoded(content)


class Long(Response):
    """An answer that is long: made while it is sent, so that it is nowhere whole as JSON, which may be six times as
    long as what it says. Who reads slowly keeps what it says: `held` bounds that."""

    def __init__(
        self, content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None,
        tell: Callable[[Problem], Response] | None = None,
    ) -> None:  # fmt: skip
        """``tell``: how a problem is told there."""
        super().__init__(None, status, headers, "application/json")
        del self.headers["content-length"]
        self._content, self._tell = content, tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or `Problem` 503 in its place."""
        try:
            with held(str(scope.get("tenant", "")), weight(self._content)), suppress(leaving.Left):
                await leaving.while_there(scope, self._send(send, scope.get("http_version") == "1.0"))
        except Problem as e:
            scope["problem"] = e.kind
            said = e.to_dict(scope.get("request_id", ""))
            refused = self._tell(e) if self._tell is not None else JSONResponse(said, e.status, e.headers, TYPE)
            await refused(scope, receive, send)

    async def _send(self, send: Send, whole: bool) -> None:
        """``whole``: it must have a length, as chunks are not known there."""
        made = blocks(self._content)
        if whole:
            body = await asyncio.to_thread(b"".join, made)
            self.headers["content-length"] = str(len(body))
            made = iter((body,))
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while (block := await asyncio.to_thread(next, made, None)) is not None:
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


_held: Counter[str] = Counter()  # bytes of long answers that are being sent by this process, by tenants


@contextmanager
def held(tenant: str, size: int) -> Iterator[None]:
    """Within, so much of this tenant's waits to be read. Raises `Problem` 503 where too much does: more than `MOST` in
    all, or half of that of one tenant; one answer may always."""
    mine, every = _held[tenant], _held.total()
    if (mine and mine + size > MOST // 2) or (every and every + size > MOST):
        raise Problem(503, "answers", "too many bytes of long answers wait to be read", retry=5)
    _held[tenant] += size
    try:
        yield
    finally:
        _held[tenant] -= size
        if not _held[tenant]:
            del _held[tenant]


def weight(value: object) -> int:
    """Bytes of memory of a value of JSON, about."""
    if isinstance(value, str):
        return sys.getsizeof(value)
    if isinstance(value, Mapping):
        return sum(map(weight, value.values()))
    return sum(map(weight, value)) if isinstance(value, (list, tuple)) else 32


def blocks(content: Any, ascii_only: bool = False) -> Iterator[bytes]:
    """`text` in several parts of about the same length, but the last."""
    made = bytearray()
    for piece in _pieces(content, _encoder(ascii_only)):
        made += piece.encode("utf-8", "replace")
        if len(made) > PIECE:
            yield bytes(made)
            made.clear()
    yield bytes(made)


def _encoder(ascii_only: bool) -> Callable[[Any], str]:
    return json.JSONEncoder(ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":")).encode


def text(content: Any, ascii_only: bool = False) -> bytes:
    """JSON, of strings that are encoded piece by piece."""
    return b"".join(blocks(content, ascii_only))


def _pieces(value: Any, encode: Callable[[Any], str]) -> Iterator[str]:
    if isinstance(value, str) and len(value) > PIECE:
        yield '"'
        for at in range(0, len(value), PIECE):
            yield encode(value[at : at + PIECE])[1:-1]
        yield '"'
    elif isinstance(value, Mapping):
        yield "{"
        for n, (key, inner) in enumerate(value.items()):
            yield f"{',' if n else ''}{encode(key)}:"
            yield from _pieces(inner, encode)
        yield "}"
    elif isinstance(value, (list, tuple)):
        yield "["
        for n, inner in enumerate(value):
            yield "," if n else ""
            yield from _pieces(inner, encode)
        yield "]"
    else:
        yield encode(value)
