"""What this service offers: ``/v1/languages``, ``/v1/limits``, ``/v1/receipt``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from pyjail import aio
from pyjail.serve.known import Once
from pyjail.serve.openapi import PROBLEMS
from pyjail.serve.service import Service


def router(service: Service) -> APIRouter:
    """Their routes."""
    made = APIRouter(prefix="/v1", tags=["about"])
    jail, config = service.config.jail, service.config

    async def enforced() -> list[dict[str, Any]]:
        async with service.turns.slot("", patient=True):
            result = await aio.run(["true"], config.limits, jail=jail)
        return [row.to_dict() for row in result.receipt]

    receipt = Once(enforced)

    @made.get("/languages", summary="Languages, and whether their tools are here")
    async def _languages() -> dict[str, Any]:
        """``available`` is found out in a jail as programs get it; ``reason`` says what is missing. ``version`` is null
        as long as the tool has not told it: it is asked when somebody asks here first."""
        return {"languages": await service.known.rows()}

    @made.get("/limits", summary="Limits of a run that names none, and what it may ask for")
    async def _limits() -> dict[str, Any]:
        """Bytes and seconds; null is no limit. What is above a maximum is refused, never made smaller."""
        return {
            "defaults": config.limits.to_dict(), "maxima": config.maxima.to_dict(),
            "concurrent": config.admission.concurrent, "queue": config.admission.queue,
            "patience": config.admission.patience, "body": config.edge.body, "file": config.files.file,
            "places": asdict(config.places), "terminals": asdict(config.terminals),
        }  # fmt: skip

    @made.get("/receipt", responses=PROBLEMS, summary="What holds a program here, control by control")
    async def _receipt() -> dict[str, Any]:
        """Of a run with the defaults: what was asked for, what enforces it, what the kernel said when it was read."""
        return {"receipt": await receipt.get()}

    return made
