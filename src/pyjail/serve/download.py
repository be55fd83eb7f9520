"""Bytes that a client wrote or a program made, sent so that no browser takes them for a page: `headers`, `Download`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pyjail.serve.upload import CHUNK

TYPE = "application/octet-stream"
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`|~")  # RFC 8187: attr-char


def disposition(name: str) -> str:
    """Content-Disposition as RFC 6266 says it, for the last part of ``name``; no byte of it ends the header."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2][:255] or "file"
    plain = "".join(c if c in _PLAIN else "_" for c in last)
    if plain == last:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(last.encode('utf-8', 'replace'), safe='')}"


def headers(name: str, size: int) -> dict[str, str]:
    """Of an answer that is a file of ``size`` bytes."""
    return {
        "Content-Type": TYPE, "Content-Length": str(size), "Content-Disposition": disposition(name),
        "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox", "Accept-Ranges": "none",
        "Cache-Control": "private, no-cache",
    }  # fmt: skip


class Download(StreamingResponse):
    """An open file, a piece at a time, and closed at its end; never a part of it (RFC 9110, 14.2: ranges may be
    ignored)."""

    def __init__(self, file: BinaryIO, name: str, size: int, more: Mapping[str, str]) -> None:
        super().__init__(_pieces(file), headers={**headers(name, size), **more})
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `starlette.responses.Response`."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, CHUNK):
        yield piece
