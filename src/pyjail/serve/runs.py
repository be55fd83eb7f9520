"""``/v1/runs``: programs that are waited for, seen while they run, or fetched later."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter, ValidationError

from pyjail.serve import answers, body, events, keeping, leaving, model, openapi, query, strict
from pyjail.serve.crowd import Template
from pyjail.serve.direct import Endpoints
from pyjail.serve.job import Job, Outcome
from pyjail.serve.live import Live
from pyjail.serve.model import Run
from pyjail.serve.openapi import EVENTS, PROBLEMS, RECORD, RESULT
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service

LONGEST_WAIT = 60.0
_ID = re.compile(r"[0-9a-f]{32}")
_BOOL = TypeAdapter(bool)
Receipt = Annotated[bool, Query(description="rows that say what held the program")]
Output = Annotated[bool, Query(description="false: a result without what was written, which events have told")]


def install(made: APIRouter, service: Service) -> Endpoints:
    """``POST /v1/runs``, that is to be found at once. It is a route of ``made``, too, which documents it."""

    async def run(request: Request, receipt: Receipt = False) -> Response:
        """Waits for it; a client that goes takes its program with it. ``Accept: text/event-stream``: its events while
        it runs. ``Prefer: respond-async``: 202 and where it is to be fetched. ``Idempotency-Key``: the same request
        once more is the same run."""
        text = await body.whole(request)
        asked = strict.model(Run, text)
        job = model.job_of(asked, service.config)
        headers = keeping.told_by(request, b"prefer", b"idempotency-key", b"accept")
        if keeping.wanted(headers):
            await service.engine.check(job, _tenant(request))
            return await keeping.keep(service, request, "run", asked, text, receipt)
        if "text/event-stream" in headers.get(b"accept", ""):
            return _followed(service, request, job)
        del asked, text  # several times their length, which nobody needs while it waits and runs
        outcome = await leaving.while_there(request.scope, _outcome(service, request, job))
        if answers.long(outcome):
            return await answers.response(keeping.whole(secrets.token_hex(16), await answers.told(outcome, receipt)))
        return answers.Json(keeping.whole(secrets.token_hex(16), model.told(outcome, receipt)))

    made.add_api_route(
        "/v1/runs", run, methods=["POST"], openapi_extra=openapi.body(Run), summary="Run a program", tags=["runs"],
        responses={200: RESULT | {"content": RESULT["content"] | EVENTS["content"]}, 202: RECORD, **PROBLEMS},
    )  # fmt: skip

    async def direct(request: Request) -> Response:
        return await run(request, _asks(request, "receipt"))

    return {("POST", "/v1/runs"): (Template("/v1/runs"), direct)}


def router(service: Service) -> APIRouter:
    """The other routes."""
    made = APIRouter(prefix="/v1", tags=["runs"])

    @made.get("/runs/{id}", summary="What became of a run", responses={200: RECORD, **PROBLEMS})
    async def get(
        id: str, request: Request, wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0, receipt: Receipt = False,
        output: Output = True,
    ) -> Response:  # fmt: skip
        """``wait``: for its end, so many seconds at most."""
        live = await keeping.seen(service, request, id)
        if wait:
            await leaving.while_there(request.scope, service.later.until_ended(live, wait))
        return await answers.response(keeping.told(live, receipt, output))

    @made.delete("/runs/{id}", summary="Cancel a run", responses={200: RECORD, **PROBLEMS})
    async def cancel(id: str, request: Request, output: Output = True) -> Response:
        """Its jail is gone when this answers; ``gone_ms`` is how long that took. Once more changes nothing."""
        began = asyncio.get_running_loop().time()
        await keeping.seen(service, request, id)
        live = await service.later.cancel(id, _tenant(request))
        if live is None:
            raise keeping.unknown()
        gone = (asyncio.get_running_loop().time() - began) * 1000
        return JSONResponse({**keeping.told(live, False, output), "gone_ms": round(gone, 3)})

    @made.get("/runs/{id}/events", summary="Follow a run", responses={200: EVENTS, 204: {}, **PROBLEMS})
    async def follow(id: str, request: Request, receipt: Receipt = False, output: Output = True) -> Response:
        """Its events from their beginning, or from where ``Last-Event-ID`` says. Who leaves does not end it."""
        live = await keeping.seen(service, request, id)
        at = events.Place.of(request.headers.get("last-event-id", ""))
        if at.ended:
            return Response(status_code=204)
        return events.Stream(live, at, receipt=receipt, output=output)

    return made


def _asks(request: Request, name: str) -> bool:
    """What the query says of it. Raises `Problem` 422."""
    if not request.scope["query_string"]:
        return False
    query.of(request, [name])
    try:
        return _BOOL.validate_python(request.query_params.get(name, False))
    except ValidationError as e:
        raise Problem(422, "field", e.errors()[0]["msg"], field=name) from None


async def _outcome(service: Service, request: Request, job: Job, live: Live | None = None) -> Outcome:
    return await service.engine.run(job, _tenant(request), request.scope.get("token"), watcher=live)


def _followed(service: Service, request: Request, job: Job) -> Response:
    """Its events; it is cancelled when the client goes."""
    live = service.lives.make(secrets.token_hex(16), _tenant(request))

    async def call() -> dict[str, Any]:
        return await answers.told(await _outcome(service, request, job, live), True)

    return events.followed(live, call, _asks(request, "receipt"))


def _tenant(request: Request) -> str:
    return str(request.scope.get("tenant", ""))
