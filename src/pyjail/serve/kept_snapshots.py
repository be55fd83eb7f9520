"""``/v1/sessions/{id}/snapshots`` and ``/v1/boxes/{id}/snapshots``: what was in them, by names, to be put back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from pyjail import Snapshot, SpecError
from pyjail.serve.kept import Place, Taken
from pyjail.serve.kept_files import telling
from pyjail.serve.openapi import PROBLEMS, answer
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service

MOST = 16  # of one place
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ENTRY = 512  # bytes of memory that a file, a directory or a link takes besides its content
_BUSY = "something runs in it"
_HINTS = {"box": "DELETE .../processes ends it", "session": ""}


def router(service: Service) -> APIRouter:
    """Their routes."""
    made = APIRouter(prefix="/v1", tags=["sessions and boxes"])
    for kind, path in (("session", "/sessions"), ("box", "/boxes")):
        _routes(made, service, kind, path + "/{id}/snapshots")
    return made


def _routes(made: APIRouter, service: Service, kind: str, path: str) -> None:
    said = answer("Snapshot", "what it holds")

    def place_of(id: str, request: Request) -> Place:
        return service.places.get(kind, id, str(request.scope.get("tenant", "")))

    @made.get(path, responses={200: answer("Snapshots", "all of them, the oldest first"), **PROBLEMS},
              summary=f"Snapshots of a {kind}", operation_id=f"list_snapshots_of_{kind}")  # fmt: skip
    async def those(id: str, request: Request) -> Response:
        """To ask is no use of it."""
        place = place_of(id, request)
        with place.there():
            return JSONResponse({"snapshots": [_told(name, taken) for name, taken in place.snapshots.items()]})

    @made.put(path + "/{name}", status_code=201, responses={200: said, 201: said, 507: {}, **PROBLEMS},
              summary=f"Take a snapshot of a {kind}", operation_id=f"take_snapshot_of_{kind}")  # fmt: skip
    async def put(id: str, name: str, request: Request) -> Response:
        """Of all files that it keeps. One of this name gives way to it. It stays as long as what it is of."""
        place = place_of(id, request)
        if not _NAME.fullmatch(name):
            raise Problem(422, "field", "1 to 64 letters, digits, '.', '_' and '-' are needed", field="name")
        new = name not in place.snapshots
        taken = await _take(service, place, name)
        return JSONResponse(_told(name, taken), 201 if new else 200)

    @made.post(path + "/{name}/restore", responses={200: said, **PROBLEMS}, summary=f"Put files of a {kind} back",
               operation_id=f"restore_snapshot_of_{kind}")  # fmt: skip
    async def restore(id: str, name: str, request: Request) -> Response:
        """All that it keeps is as it was then, and nothing else; nothing may run in it. As often as needed."""
        place = place_of(id, request)
        with place.in_use() as what:
            taken = _found(place, name)
            async with place.alone(service.places.patience):
                with telling("name"), _still(place):
                    await what.restore(taken.snapshot)
        return JSONResponse(_told(name, taken))

    @made.delete(path + "/{name}", status_code=204, responses=PROBLEMS, summary=f"Forget a snapshot of a {kind}",
                 operation_id=f"forget_snapshot_of_{kind}")  # fmt: skip
    async def delete(id: str, name: str, request: Request) -> Response:
        place = place_of(id, request)
        with place.there():
            _found(place, name)
            del place.snapshots[name]
        return Response(status_code=204)


async def _take(service: Service, place: Place, name: str) -> Taken:
    """Raises `Problem` 507 where it does not fit; nothing of it is kept then."""
    with place.in_use() as made:
        async with place.alone(service.places.patience), service.places.taking:  # who waits for himself holds up nobody
            _room(service, place, name, 0)
            with telling("name"), _still(place):
                snapshot = await made.snapshot()
            entries = len(snapshot.files) + len(snapshot.directories) + len(snapshot.links) + len(snapshot.skipped)
            taken = Taken(snapshot, snapshot.size + _ENTRY * entries, time.time())
            place.touch()
            _room(service, place, name, taken.size)
            place.snapshots.pop(name, None)
            place.snapshots[name] = taken
    return taken


def _room(service: Service, place: Place, name: str, size: int) -> None:
    old = place.snapshots.get(name)
    if old is None and len(place.snapshots) >= MOST:
        raise Problem(507, "quota", f"there are {MOST} snapshots of this {place.kind}", hint="DELETE one of them")
    size -= old.size if old is not None else 0
    places, most = service.places, service.places.bounds.snapshots
    if places.snapshots(place.tenant) + size > most // 2 or places.snapshots() + size > most:
        why = f"all snapshots together have {most} bytes, those of one tenant half of that"
        raise Problem(507, "quota", why, hint="DELETE one; snapshots in [serve.places]")


@contextmanager
def _still(place: Place) -> Iterator[None]:
    """That nothing may run in it is told as a state."""
    try:
        yield
    except SpecError:
        raise Problem(409, "busy", _BUSY, hint=_HINTS[place.kind], retry=1) from None


def _found(place: Place, name: str) -> Taken:
    taken = place.snapshots.get(name)
    if taken is None:
        raise Problem(404, "not-found", "there is no such snapshot", field="name")
    return taken


def _told(name: str, taken: Taken) -> dict[str, Any]:
    snapshot: Snapshot = taken.snapshot
    return {
        "name": name, "size": snapshot.size, "files": len(snapshot.files), "directories": len(snapshot.directories),
        "links": len(snapshot.links), "skipped": len(snapshot.skipped), "created": round(taken.at, 3),
    }  # fmt: skip
