"""``/v1/sessions`` and ``/v1/boxes``: jails that stay between programs."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field

from pyjail.serve import answers, kept, leaving, model, strict
from pyjail.serve.job import Job
from pyjail.serve.kept import LONGEST, Place
from pyjail.serve.model import CONTENT, FILE, Asked
from pyjail.serve.openapi import PROBLEMS, RESULT, answer, body
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service


class Opened(Asked):
    """A session or a box to come."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"limits": {"disk": "32M"}, "ttl": 600}]})
    limits: dict[str, Any] = Field(
        default_factory=dict, description="of its programs; disk and inodes of all that it keeps; of a box as a whole"
    )
    ttl: float = Field(300.0, gt=0, le=LONGEST, description="seconds that it may stay unused")


class Step(Asked):
    """One program in it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"args": ["sh", "-c", "echo 1 >> log; cat log"]}]})
    args: list[str] = Field(min_length=1)
    stdin: str | dict[str, str] = Field("", description=CONTENT)
    env: dict[str, str] | None = None
    cwd: str | None = None
    limits: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str | dict[str, str]] = Field(default_factory=dict, description=f"path below /box: {FILE}")
    collect: list[str] = Field(default_factory=list)
    merged: bool = False


def router(service: Service) -> APIRouter:
    """Their routes."""
    made = APIRouter(prefix="/v1", tags=["sessions and boxes"])
    for kind, path in (("session", "/sessions"), ("box", "/boxes")):
        _routes(made, service, kind, path)
    return made


def _routes(made: APIRouter, service: Service, kind: str, path: str) -> None:
    said = answer("Place", "where it stands")

    @made.post(path, status_code=201, openapi_extra=body(Opened), responses={201: said, **PROBLEMS},
               summary=f"Open a {kind}", operation_id=f"open_{kind}")  # fmt: skip
    async def create(request: Request) -> Response:
        text = await request.body()
        asked = strict.model(Opened, text or b"{}")
        config = service.config
        limits = model.limits(asked.limits, config.limits, config.maxima)
        place = service.places.open(kind, _tenant(request), limits, asked.ttl)
        return JSONResponse(kept.told(place), 201, headers={"Location": f"/v1{path}/{place.id}"})

    @made.get(path + "/{id}", responses={200: said, **PROBLEMS}, summary=f"Where a {kind} stands",
              operation_id=f"get_{kind}")  # fmt: skip
    async def get(id: str, request: Request) -> Response:
        return JSONResponse(kept.told(service.places.get(kind, id, _tenant(request))))

    @made.delete(path + "/{id}", responses={200: said, **PROBLEMS}, summary=f"Close a {kind}",
                 operation_id=f"close_{kind}")  # fmt: skip
    async def close(id: str, request: Request) -> Response:
        """All that ran in it is gone when this answers. Once more changes nothing."""
        place = service.places.get(kind, id, _tenant(request))
        await service.places.close(place)
        return JSONResponse(kept.told(place))

    @made.post(path + "/{id}/steps", openapi_extra=body(Step), responses={200: RESULT, **PROBLEMS},
               summary=f"Run a program in a {kind}", operation_id=f"step_in_{kind}")  # fmt: skip
    async def step(id: str, request: Request, receipt: bool = False) -> Response:
        """Its files are there for the next one. A client that goes takes its program with it, and a session, too."""
        place = service.places.get(kind, id, _tenant(request))
        job = kept.job_in(place, _job(strict.model(Step, await request.body()), service, place))
        work = service.places.run(place, job, request.scope.get("token"))
        outcome = await leaving.while_there(request.receive, work)
        if outcome.result is not None and outcome.result.verdict == "jail_error":
            raise Problem(500, "jail-error", "the jail failed, not the program")
        return await answers.response({"id": secrets.token_hex(16), **await answers.told(outcome, receipt)})


def _job(asked: Step, service: Service, place: Place) -> Job:
    files = {path: model.file(f"files.{path}", data) for path, data in asked.files.items()}
    return Job(
        tuple(asked.args), stdin=model.content("stdin", asked.stdin), files=files, env=asked.env, cwd=asked.cwd,
        limits=model.limits(asked.limits, place.limits, service.config.maxima), jail=service.config.jail,
        collect=tuple(asked.collect), merged=asked.merged,
    )  # fmt: skip


def _tenant(request: Request) -> str:
    return str(request.scope.get("tenant", ""))
