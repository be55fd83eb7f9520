"""Requests whose outcome the store keeps, to be fetched later or once more, by ``/v1/runs/{id}``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from pyjail.serve import answers, events, leaving, model
from pyjail.serve.live import Live
from pyjail.serve.problem import TYPE, Problem
from pyjail.serve.service import Service

_ID = re.compile(r"[0-9a-f]{32}")
_LONGEST = 255  # characters of a key


def told_by(request: Request, *names: bytes) -> dict[bytes, str]:
    """These headers, by one look at all of them."""
    return {name: value.decode("latin-1") for name, value in request.scope["headers"] if name in names}


def wanted(headers: Mapping[bytes, str]) -> bool:
    """Whether they ask for that: ``Prefer: respond-async``, or an ``Idempotency-Key``."""
    return _later(headers) or bool(headers.get(b"idempotency-key"))


async def keep(service: Service, request: Request, kind: str, asked: BaseModel, text: bytes, receipt: bool) -> Response:
    """202 and where it is to be fetched; or its events; or what comes of it, which is waited for. ``kind``: who does it
    later, see `later.Later`. ``text``: the body that came; another one with the same key is refused."""
    headers = told_by(request, b"prefer", b"idempotency-key", b"accept")
    key = headers.get(b"idempotency-key", "")
    if len(key) > _LONGEST:
        raise Problem(422, "field", f"at most {_LONGEST} characters", field="Idempotency-Key")
    spec = {"kind": kind, "body": asked.model_dump(exclude_defaults=True)}
    record = await service.later.submit(_tenant(request), spec, key, hashlib.sha256(text).hexdigest())
    live = await seen(service, request, record.id)
    where = {"Location": f"/v1/runs/{record.id}"}
    if _later(headers):
        return JSONResponse(told(live, False), 202, headers={**where, "Preference-Applied": "respond-async"})
    if "text/event-stream" in headers.get(b"accept", ""):
        return events.Stream(live, events.Place(), receipt=receipt)
    await leaving.while_there(request.scope, service.later.until_ended(live, None))
    said = told(live, receipt)
    if "problem" in said:
        return JSONResponse(said["problem"], said["problem"]["status"], media_type=TYPE)
    if live.state != "done":
        raise Problem(409, "state", f"the run was {live.state}")
    del said["state"]
    return await answers.response(whole(said.pop("id"), said))


def told(live: Live, receipt: bool, output: bool = True) -> dict[str, Any]:
    """A run that is fetched, as JSON: its state, and what came of it."""
    return {"id": live.id, "state": live.state, **model.shown(live.result or {}, receipt, output)}


def whole(id: str, said: dict[str, Any]) -> dict[str, Any]:
    """What came of it, with its id. Raises `Problem` 500 where the jail failed."""
    if (said.get("result") or {}).get("verdict") == "jail_error":
        raise Problem(500, "jail-error", "the jail failed, not the program")
    return {"id": id, **said}


async def seen(service: Service, request: Request, id: str) -> Live:
    """The run of that id. Raises `Problem` 404."""
    live = await service.later.seen(id, _tenant(request)) if _ID.fullmatch(id) else None
    if live is None:
        raise unknown()
    return live


def unknown() -> Problem:
    """404."""
    return Problem(404, "not-found", "there is no such run")


def _later(headers: Mapping[bytes, str]) -> bool:
    return "respond-async" in headers.get(b"prefer", "").lower()


def _tenant(request: Request) -> str:
    return str(request.scope.get("tenant", ""))
