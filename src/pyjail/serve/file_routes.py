"""``/v1/files``: files that runs name by their SHA-256, so that each is sent once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from pyjail.serve.disk import too_long
from pyjail.serve.download import Download, headers
from pyjail.serve.files import FileStore, is_digest
from pyjail.serve.multipart import Form
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service
from pyjail.serve.upload import CHUNK, Upload

_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FORM = {
    "type": "object", "required": ["file"],
    "properties": {"file": {"type": "string", "format": "binary"}, "sha256": {"type": "string"}},
}  # fmt: skip
_RAW: dict[str, Any] = {"requestBody": {"required": True, "content": _BYTES}}
_EITHER: dict[str, Any] = {
    "requestBody": {"required": False, "content": {"multipart/form-data": {"schema": _FORM}, **_BYTES}}
}
_FOUND: dict[int | str, dict[str, Any]] = {200: {"description": "its bytes", "content": _BYTES}, 404: {}}
_KEPT: dict[int | str, dict[str, Any]] = {
    201: {"description": '{"sha256": ..., "size": ...}'},
    413: {},
    422: {},
    507: {},
}
Name = Annotated[str, Query(max_length=255, description="what the file is called where it is saved")]


def router(service: Service) -> APIRouter:
    """Its routes."""
    made = APIRouter(prefix="/v1/files", tags=["files"])

    @made.put("/{sha256}", status_code=201, openapi_extra=_RAW, responses=_KEPT, summary="Keep a file")
    async def put(sha256: str, request: Request) -> Response:
        """Nothing is kept of a body whose SHA-256 is another one."""
        if not is_digest(sha256):
            raise Problem(422, "digest", "64 hex digits in small letters are needed", field="sha256")
        return await _keep(service.files, request, sha256)

    @made.post("", status_code=201, openapi_extra=_EITHER, responses=_KEPT, summary="Keep a file, and learn its digest")
    async def post(request: Request) -> Response:
        """The body, or its part ``file``; ``sha256`` beside it is checked."""
        return await _keep(service.files, request)

    @made.get("/{sha256}", responses=_FOUND, response_class=Response, summary="A file")
    async def get(sha256: str, request: Request, name: Name = "") -> Response:
        """All of it, always."""
        file = await asyncio.to_thread(service.files.open, _owner(request), sha256)
        if file is None:
            raise _unknown()
        return Download(file, name or sha256, _size(file), {"ETag": f'"{sha256}"'})

    @made.head("/{sha256}", responses=_FOUND, response_class=Response, summary="Whether a file is there")
    async def head(sha256: str, request: Request, name: Name = "") -> Response:
        """Asking counts as a use."""
        file = await asyncio.to_thread(service.files.open, _owner(request), sha256)
        if file is None:
            raise _unknown()
        with file:
            return Response(headers={**headers(name or sha256, _size(file)), "ETag": f'"{sha256}"'})

    @made.delete("/{sha256}", status_code=204, responses={404: {}}, summary="Forget a file")
    async def delete(sha256: str, request: Request) -> Response:
        """Runs that have it already keep it."""
        if not await asyncio.to_thread(service.files.drop, _owner(request), sha256):
            raise _unknown()
        return Response(status_code=204)

    return made


async def _keep(files: FileStore, request: Request, expected: str = "") -> Response:
    kind = request.headers.get("content-type", "")
    length = request.headers.get("content-length", "")
    form = Form(kind, request.stream()) if kind.lower().startswith("multipart/") else None
    if form is None and length.isdigit() and int(length) > files.limits.file:
        raise too_long(files.limits.file)
    upload = await asyncio.to_thread(files.upload, _owner(request))
    try:
        await fill(upload, form or request.stream())
        digest = await asyncio.to_thread(upload.keep, expected or (form.fields.get("sha256", "") if form else ""))
    finally:
        await asyncio.shield(asyncio.to_thread(upload.close))
    where = f"/v1/files/{digest}"
    return JSONResponse({"sha256": digest, "size": upload.size}, 201, headers={"Location": where})


async def fill(upload: Upload, pieces: AsyncIterable[bytes]) -> None:
    """Write what comes, a chunk at a time."""
    pending = bytearray()
    async for piece in pieces:
        pending += piece
        if len(pending) >= CHUNK:
            await asyncio.to_thread(upload.write, pending)
            pending = bytearray()
    await asyncio.to_thread(upload.write, pending)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _owner(request: Request) -> str:
    return str(request.scope.get("tenant", ""))


def _unknown() -> Problem:
    return Problem(404, "not-found", "there is no such file")
