"""``/v1/sessions`` and ``/v1/boxes``: jails that stay between programs."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field

from pyjail import HostError, Jail, SpecError, languages
from pyjail.serve import answers, events, faults, kept, leaving, model, strict
from pyjail.serve.job import Job
from pyjail.serve.kept import Place
from pyjail.serve.model import Asked, Run
from pyjail.serve.openapi import EVENTS, PLACES, PROBLEMS, RESULT, answer, body
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service


class Opened(Asked):
    """A session or a box to come."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"limits": {"disk": "32M"}, "ttl": 600}]})
    limits: dict[str, Any] = Field(
        default_factory=dict, description="of its programs; disk and inodes of all that it keeps; of a box as a whole"
    )
    ttl: float | None = Field(None, gt=0, description="seconds that it may stay unused")
    languages: list[str] = Field(
        default_factory=list, max_length=64, description="whose tools are to be in it, where they need more than it has"
    )


class Step(Run):
    """One program in it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"args": ["sh", "-c", "echo 1 >> log; cat log"]},
                {"language": "python", "source": "print(open('log').read())"},
            ]
        }
    )
    orphans: Literal["kill", "keep"] = Field("kill", description="of a box: what a program leaves behind")


def router(service: Service) -> APIRouter:
    """Their routes."""
    made = APIRouter(prefix="/v1", tags=["sessions and boxes"])
    for kind, path in (("session", "/sessions"), ("box", "/boxes")):
        _whole(made, service, kind, path)
        _programs(made, service, kind, path)
    return made


def _whole(made: APIRouter, service: Service, kind: str, path: str) -> None:
    said = answer("Place", "where it stands")

    @made.post(path, status_code=201, openapi_extra=body(Opened, required=False), responses={201: said, **PROBLEMS},
               summary=f"Open a {kind}", operation_id=f"open_{kind}")  # fmt: skip
    async def create(request: Request) -> Response:
        text = await request.body()
        asked = strict.model(Opened, text or b"{}")
        config, tenant, bounds = service.config, tenant_of(request), service.places.bounds
        limits = model.limits(asked.limits, config.limits, config.maxima)
        ttl = bounds.idle if asked.ttl is None else asked.ttl
        if ttl > bounds.longest_idle:
            raise Problem(422, "limit", f"at most {bounds.longest_idle:g} s are given here", field="ttl")
        service.places.room(tenant)
        jail = config.jail
        if asked.languages:
            async with service.turns.slot(tenant, request.scope.get("token")):  # what looks for tools is a program
                jail = await asyncio.to_thread(_jail, service, asked.languages)
        place = service.places.open(kind, tenant, jail, limits, ttl)
        return JSONResponse(kept.told(place), 201, headers={"Location": f"/v1{path}/{place.id}"})

    @made.get(path, responses={200: PLACES, **PROBLEMS}, summary=f"Each {kind} that is open",
              operation_id=f"list_{kind}")  # fmt: skip
    async def those(request: Request) -> Response:
        """This tenant's, the oldest first."""
        return JSONResponse({path[1:]: [kept.told(p) for p in service.places.of(tenant_of(request), kind)]})

    @made.get(path + "/{id}", responses={200: said, **PROBLEMS}, summary=f"Where a {kind} stands",
              operation_id=f"get_{kind}")  # fmt: skip
    async def get(id: str, request: Request) -> Response:
        """To ask is no use of it."""
        return JSONResponse(kept.told(service.places.get(kind, id, tenant_of(request))))

    @made.post(path + "/{id}/keepalive", responses={200: said, **PROBLEMS}, summary=f"Use a {kind}",
               operation_id=f"keep_{kind}")  # fmt: skip
    async def keepalive(id: str, request: Request) -> Response:
        """Its idle time begins anew."""
        place = service.places.get(kind, id, tenant_of(request))
        place.touch()
        return JSONResponse(kept.told(place))

    @made.delete(path + "/{id}", responses={200: said, **PROBLEMS}, summary=f"Close a {kind}",
                 operation_id=f"close_{kind}")  # fmt: skip
    async def close(id: str, request: Request) -> Response:
        """All that ran in it is gone when this answers. Once more changes nothing."""
        place = service.places.get(kind, id, tenant_of(request))
        await service.places.close(place)
        return JSONResponse(kept.told(place))


def _programs(made: APIRouter, service: Service, kind: str, path: str) -> None:
    @made.post(
        path + "/{id}/steps", openapi_extra=body(Step), summary=f"Run a program in a {kind}",
        operation_id=f"step_in_{kind}",
        responses={200: RESULT | {"content": RESULT["content"] | EVENTS["content"]}, **PROBLEMS},
    )  # fmt: skip
    async def step(id: str, request: Request, receipt: bool = False) -> Response:
        """Its files are there for the next one, and what a compiler made. A client that goes takes its program with it,
        and a session, too. ``Accept: text/event-stream``: its events while it runs."""
        place = service.places.get(kind, id, tenant_of(request))
        asked = strict.model(Step, await request.body())
        if kind == "session" and asked.orphans != "kill":
            raise Problem(422, "field", "nothing outlives a program of a session", field="orphans", hint="open a box")
        job, token = _job(asked, service, place), request.scope.get("token")
        if "text/event-stream" in request.headers.get("accept", ""):
            live = service.lives.make(secrets.token_hex(16), place.tenant)

            async def call() -> dict[str, Any]:
                return await answers.told(await service.places.run(place, job, token, live, asked.orphans), True)

            return events.followed(live, call, receipt)
        work = service.places.run(place, job, token, orphans=asked.orphans)
        outcome = await leaving.while_there(request.scope, work)
        if outcome.result is not None and outcome.result.verdict == "jail_error":
            raise Problem(500, "jail-error", "the jail failed, not the program")
        return await answers.response({"id": secrets.token_hex(16), **await answers.told(outcome, receipt)})


def _job(asked: Step, service: Service, place: Place) -> Job:
    """As a program of that place: its disk is the place's."""
    job = model.job_of(asked, service.config, place.limits)
    limits = replace(job.limits, disk=place.limits.disk, inodes=place.limits.inodes)
    return replace(job, limits=limits, jail=place.jail)


def _jail(service: Service, wanted: list[str]) -> Jail:
    """The service's, with the tools of these languages."""
    jail = service.config.jail
    for i, name in enumerate(wanted):
        try:
            jail = languages.jail_for(languages.find(name, service.config.languages or None), jail)
        except SpecError as e:
            raise Problem(422, "field", e.reason, field=f"languages.{i}") from None
        except HostError as e:
            raise faults.missing(e, name, f"languages.{i}") from None
    return jail


def tenant_of(request: Request) -> str:
    """Whose request it is."""
    return str(request.scope.get("tenant", ""))
