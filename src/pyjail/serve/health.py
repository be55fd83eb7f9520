"""``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response

from pyjail.serve import metrics
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service

_ASKED = ["GET", "HEAD"]  # balancers and watchers use either


def router(service: Service) -> APIRouter:
    """Their routes: the first touches nothing, the second says why no run would be taken, the third what there was."""
    made = APIRouter(include_in_schema=False)

    @made.api_route("/healthz", methods=_ASKED)
    async def healthz() -> dict[str, bool]:
        return {"ok": True}

    @made.api_route("/readyz", methods=_ASKED)
    async def readyz() -> dict[str, bool]:
        why = service.unready()
        if why:
            raise Problem(503, "not-ready", "; ".join(why), retry=service.turns.retry_after())
        return {"ok": True}

    @made.api_route("/metrics", methods=_ASKED)
    async def scraped() -> Response:
        service.observer.settle()
        page = await asyncio.to_thread(service.observer.metrics.page)
        return Response(page, headers={"Content-Type": metrics.CONTENT_TYPE})

    return made
