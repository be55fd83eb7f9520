"""What this service offers: ``/v1/languages``, ``/v1/limits``, ``/v1/receipt``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter

from pyjail import aio, languages
from pyjail.serve.openapi import PROBLEMS
from pyjail.serve.service import Service


class Once:
    """What is found out when somebody asks first, and kept. Who asks meanwhile waits for the same."""

    def __init__(self, find: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._find = find
        self._found: asyncio.Task[Any] | None = None

    async def get(self) -> Any:
        """It. A failure is not kept."""
        if self._found is None or (self._found.done() and (self._found.cancelled() or self._found.exception())):
            self._found = asyncio.create_task(self._find())
        return await asyncio.shield(self._found)


def router(service: Service) -> APIRouter:
    """Their routes."""
    made = APIRouter(prefix="/v1", tags=["about"])
    jail, config = service.config.jail, service.config

    def look() -> list[dict[str, Any]]:
        known = config.languages or languages.table()
        return [_row(language, languages.version(language, jail)) for language in known.values()]

    async def enforced() -> list[dict[str, Any]]:
        async with service.turns.slot("", patient=True):
            result = await aio.run(["true"], config.limits, jail=jail)
        return [row.to_dict() for row in result.receipt]

    found, receipt = Once(lambda: asyncio.to_thread(look)), Once(enforced)

    @made.get("/languages", summary="Languages, and whether their tools are here")
    async def _languages() -> dict[str, Any]:
        """``available`` is found out in a jail as programs get it; ``reason`` says what is missing."""
        return {"languages": await found.get()}

    @made.get("/limits", summary="Limits of a run that names none, and what it may ask for")
    async def _limits() -> dict[str, Any]:
        """Bytes and seconds; null is no limit. What is above a maximum is refused, never made smaller."""
        return {
            "defaults": config.limits.to_dict(), "maxima": config.maxima.to_dict(),
            "concurrent": config.admission.concurrent, "queue": config.admission.queue,
            "patience": config.admission.patience, "body": config.edge.body, "file": config.files.file,
        }  # fmt: skip

    @made.get("/receipt", responses=PROBLEMS, summary="What holds a program here, control by control")
    async def _receipt() -> dict[str, Any]:
        """Of a run with the defaults: what was asked for, what enforces it, what the kernel said when it was read."""
        return {"receipt": await receipt.get()}

    return made


def _row(language: languages.Language, version: str | None) -> dict[str, Any]:
    missing = f"needs {language.package or ' and '.join(language.tools)}"
    return {
        "name": language.name, "title": language.title, "extensions": list(language.extensions),
        "compiled": bool(language.compile), "available": version is not None, "version": version or "",
        "reason": "" if version is not None else missing,
    }  # fmt: skip
