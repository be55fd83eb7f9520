"""``/healthz`` and ``/readyz``."""

from __future__ import annotations

from fastapi import APIRouter

from pyjail.serve.problem import Problem
from pyjail.serve.service import Service


def router(service: Service) -> APIRouter:
    """Their routes: the first touches nothing, the second says why no run would be taken."""
    made = APIRouter(include_in_schema=False)

    @made.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"ok": True}

    @made.get("/readyz")
    async def readyz() -> dict[str, bool]:
        why = service.unready()
        if why:
            raise Problem(503, "not-ready", "; ".join(why), retry=service.turns.retry_after())
        return {"ok": True}

    return made
