"""The ASGI application: routes, errors, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

import pyjail
from pyjail import HostError, JailError, SpecError
from pyjail.serve import health, page, runs
from pyjail.serve.config import Config
from pyjail.serve.edge import Edge
from pyjail.serve.problem import TYPE, Problem
from pyjail.serve.service import Service


def make(config: Config) -> FastAPI:
    """All of it."""
    service = Service(config)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.end()

    made = FastAPI(
        title="pyjail", version=pyjail.__version__, lifespan=life, docs_url=None, redoc_url=None,
        openapi_url="/v1/openapi.json", redirect_slashes=False,
    )  # fmt: skip
    made.state.service = service
    made.include_router(health.router(service))
    made.include_router(runs.router(service))
    made.include_router(page.router(config))
    _errors(made)
    made.add_middleware(Edge, config=config)
    return made


def _errors(made: FastAPI) -> None:
    @made.exception_handler(Problem)
    async def problem(request: Request, e: Problem) -> JSONResponse:
        body = e.to_dict(request.scope.get("request_id", ""))
        return JSONResponse(body, e.status, headers=dict(e.headers), media_type=TYPE)

    @made.exception_handler(SpecError)
    async def spec(request: Request, e: SpecError) -> JSONResponse:
        return await problem(request, Problem(422, "field", e.reason, field=e.field))

    @made.exception_handler(HostError)
    async def host(request: Request, e: HostError) -> JSONResponse:
        return await problem(request, Problem(503, "host", "this machine cannot enforce what was asked for"))

    @made.exception_handler(JailError)
    async def jail(request: Request, e: JailError) -> JSONResponse:
        return await problem(request, Problem(500, "jail-error", "the jail failed, not the program"))
