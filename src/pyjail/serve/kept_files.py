"""``/v1/sessions/{id}/files`` and ``/v1/boxes/{id}/files``: what lies in them, written, read, listed and removed."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from pyjail import SpecError, aio
from pyjail.serve import faults, leaving
from pyjail.serve.disk import too_long
from pyjail.serve.download import Download
from pyjail.serve.file_routes import fill
from pyjail.serve.kept import Place
from pyjail.serve.openapi import PROBLEMS
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service

MOST_NAMES = 20_000  # that one answer has
_MODE = re.compile(r"0?[0-7]{3}")
_REFUSED = frozenset({
    errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENAMETOOLONG,
    errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.EROFS, errno.ETXTBSY, errno.ENXIO, errno.EXDEV, errno.E2BIG,
})  # fmt: skip
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_RAW: dict[str, Any] = {"requestBody": {"required": True, "content": _BYTES}}
_NAMES = {
    "application/json": {"schema": {"type": "object", "properties": {
        "root": {"type": "string"}, "files": {"type": "array", "items": {"type": "string"}},
    }}}
}  # fmt: skip
_FOUND: dict[int | str, dict[str, Any]] = {
    200: {"description": "its bytes; without a path, names", "content": {**_BYTES, **_NAMES}},
    **PROBLEMS,
}
Path = Annotated[str, Query(description="absolute, or below /box")]
Mode = Annotated[str, Query(description="permission bits, such as 755; of a new file")]


def router(service: Service) -> APIRouter:
    """Their routes."""
    made = APIRouter(prefix="/v1", tags=["sessions and boxes"])
    for kind, path in (("session", "/sessions"), ("box", "/boxes")):
        _routes(made, service, kind, path + "/{id}/files")
    return made


def _routes(made: APIRouter, service: Service, kind: str, path: str) -> None:
    def place_of(id: str, request: Request) -> Place:
        return service.places.get(kind, id, str(request.scope.get("tenant", "")))

    @made.put(path, status_code=201, openapi_extra=_RAW, responses={201: {}, 413: {}, **PROBLEMS},
              summary=f"Write a file into a {kind}", operation_id=f"write_in_{kind}")  # fmt: skip
    async def put(id: str, request: Request, path: Path, mode: Mode = "644") -> Response:
        """Over one that is there. Directories on the way are made. Nothing of it is there when it does not fit."""
        if not _MODE.fullmatch(mode):
            raise Problem(422, "field", "three octal digits are needed, such as 644", field="mode")
        size = await _write(service, request, place_of(id, request), path, int(mode, 8))
        return JSONResponse({"path": path, "size": size}, 201)

    @made.get(path, responses=_FOUND, response_class=Response, summary=f"A file of a {kind}, or the names of all",
              operation_id=f"read_in_{kind}")  # fmt: skip
    async def get(
        id: str, request: Request, path: Annotated[str | None, Query(description="absolute, or below /box")] = None,
        root: str = "/box", pattern: str = "**",
    ) -> Response:  # fmt: skip
        """With ``path`` all of that file, always. Without, the names below ``root`` that match ``pattern``."""
        place = place_of(id, request)
        if path is not None:
            return await leaving.while_there(request.scope, _read(service, place, path))
        return await leaving.while_there(request.scope, _list(place, root, pattern))

    @made.delete(path, status_code=204, responses=PROBLEMS, summary=f"Remove a file of a {kind}",
                 operation_id=f"remove_in_{kind}")  # fmt: skip
    async def delete(id: str, request: Request, path: Path, recursive: bool = False) -> Response:
        """A directory, too; with all that is in it when ``recursive``."""
        with place_of(id, request).in_use() as made:
            with telling("path"):
                await made.remove(path, recursive=recursive)
        return Response(status_code=204)


async def _write(service: Service, request: Request, place: Place, path: str, mode: int) -> int:
    """Its bytes: it is kept on the disk until it is whole, so that no half of it is in there."""
    most, length = service.places.bounds.file, request.headers.get("content-length", "")
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Problem(415, "content-type", "the body is the file", hint="send Content-Type: application/octet-stream")
    if length.isdigit() and int(length) > most:
        raise too_long(most)
    with place.in_use() as made:
        upload = await asyncio.to_thread(service.files.upload, place.tenant, most)
        try:
            await fill(upload, request.stream())
            whole = upload.path(mode)
            with telling("path"):
                if isinstance(made, aio.Box):
                    await made.copy_in(whole, path)
                else:
                    await made.write(path, whole, mode)
            return upload.size
        finally:
            await asyncio.shield(asyncio.to_thread(upload.close))


async def _read(service: Service, place: Place, path: str) -> Response:
    most = service.places.bounds.file
    with place.in_use() as made, telling("path"):
        async with service.places.reading:
            data = await made.read(path, limit=most)
    if service.held + len(data) > service.config.admission.inflight:
        raise Problem(503, "inflight", "too many bytes of files are held already", retry=1)
    return _Whole(service, path, data)


async def _list(place: Place, root: str, pattern: str) -> Response:
    with place.in_use() as made:
        with telling("root"):
            if isinstance(made, aio.Box):
                names = await made.list(pattern, root)
            elif root != "/box":
                raise Problem(422, "field", "of a session, /box alone is kept", field="root")
            else:
                names = await made.list(pattern)
    if len(names) > MOST_NAMES:
        why = f"{len(names)} names are more than the {MOST_NAMES} that one answer has"
        raise Problem(422, "limit", why, field="pattern", hint="ask for fewer at once")
    files = [os.fsencode(name).decode("utf-8", "replace") for name in names]
    return JSONResponse({"root": root, "files": files})


class _Whole(Download):
    """A file's content, which counts as held until its reader has it, or is gone."""

    def __init__(self, service: Service, path: str, data: bytes) -> None:
        super().__init__(io.BytesIO(data), path, len(data), {})
        self._service, self._size = service, len(data)
        service.held += self._size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._service.held -= self._size


@contextmanager
def telling(field: str) -> Iterator[None]:
    """What the kernel says of a path is told by its field."""
    try:
        yield
    except SpecError as e:
        named = {"collect": "pattern"}.get(e.field, e.field if e.field in ("mode", "limit") else field)
        if named == "limit":
            raise Problem(413, "file-size", f"the file is longer than {e.value} bytes", field=field) from None
        raise Problem(422, "field", e.reason, field=named) from None
    except FileNotFoundError:
        raise Problem(404, "not-found", "there is no such file or directory", field=field) from None
    except OSError as e:
        if e.errno in _REFUSED:
            raise Problem(422, "field", os.strerror(e.errno or 0), field=field) from None
        raise faults.no_room(field, e) from None
