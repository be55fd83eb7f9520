"""Answers that are long: made in pieces by a thread, so that no other request waits while they are.

Neither JSON nor base64 lets another thread run until it is through with a value; of a value of 60 MB that is a second.
"""

from __future__ import annotations

import asyncio
import binascii
import codecs
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fastapi.responses import JSONResponse
from starlette.responses import Response

from pyjail import Result
from pyjail.serve import model
from pyjail.serve.job import Outcome
from pyjail.serve.live import length

LONG = 1 << 20  # bytes that are nothing to wait for
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


async def encoded(content: Mapping[str, Any], ascii_only: bool = False) -> bytes | None:
    """It as JSON; None: it is not long, and whoever asks is as quick."""
    return await asyncio.to_thread(text, content, ascii_only) if length(content) > LONG else None


async def response(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """It as an answer."""
    data = await encoded(content)
    if data is None:
        return JSONResponse(content, status, headers)
    return Response(data, status, headers, "application/json")


def text(content: Any, ascii_only: bool = False) -> bytes:
    """JSON, of strings that are encoded piece by piece."""
    encode = json.JSONEncoder(ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":")).encode
    return b"".join(piece.encode("utf-8", "replace") for piece in _pieces(content, encode))


def _pieces(value: Any, encode: Any) -> Iterator[str]:
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
