"""The ASGI application: routes, errors, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

import pyjail
from pyjail.serve import (
    about,
    crowd,
    errors,
    faced,
    file_routes,
    health,
    judging,
    kept_files,
    kept_processes,
    kept_routes,
    kept_snapshots,
    openapi,
    page,
    query,
    runs,
    swagger_page,
    terminal,
)
from pyjail.serve.config import Config
from pyjail.serve.direct import Direct
from pyjail.serve.edge import Edge
from pyjail.serve.entrance import Entrance
from pyjail.serve.observed import Observed, at_once
from pyjail.serve.service import Service


class Application(FastAPI):
    """The framework's, behind what stands before all routes: ``outside`` makes that of it."""

    outside: Callable[[ASGIApp], ASGIApp]

    def build_middleware_stack(self) -> ASGIApp:
        """What requests come to first."""
        return self.outside(super().build_middleware_stack())


def make(config: Config) -> FastAPI:
    """All of it."""
    service = Service(config)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        try:
            await service.start()
        except Exception as e:
            made.state.failed = e  # a server says that it failed, and not why
            raise
        try:
            yield
        finally:
            await service.end()

    made = Application(
        title="pyjail", version=pyjail.__version__, lifespan=life, docs_url=None, redoc_url=None,
        openapi_url="/v1/openapi.json", redirect_slashes=False,
    )  # fmt: skip
    made.state.service = service
    ours = runs.install(made.router, service)
    of_v1 = (runs, judging, kept_routes, kept_files, kept_processes, kept_snapshots, file_routes, about)
    for part in of_v1:
        made.include_router(part.router(service), dependencies=[Depends(query.known)])
    made.include_router(health.router(service))
    made.include_router(terminal.router(service))
    made.include_router(swagger_page.router(lambda face: bool(config.faces.get(face, {}).get("enabled", True))))
    made.include_router(page.router(config))
    doors = faced.mount(made, service)
    errors.install(made, doors.refused)
    openapi.install(made)
    endpoints = {**ours, **doors.direct}
    full = crowd.refusal(service.turns, {**crowd.OURS, **doors.full})

    entrance = Entrance(config, tell=doors.tell, forms=doors.forms, refusal=full)

    def outside(app: ASGIApp) -> ASGIApp:
        edge = Edge(Direct(app, endpoints), entrance, config.edge.head_time)
        return Observed(edge, service.observer, tell=doors.tell)

    made.outside, made.state.at_once = outside, at_once(service.observer, entrance)
    return made
