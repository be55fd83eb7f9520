"""``/v1/runs``."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from pyjail import Limits, SpecError
from pyjail.serve.job import Job, Outcome
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service


class Run(BaseModel):
    """A program to run: ``args``, or ``language`` and ``source``."""

    model_config = ConfigDict(extra="forbid")

    args: list[str] = Field(default_factory=list)
    language: str = ""
    source: str | dict[str, str] = ""
    stdin: str | dict[str, str] = ""
    env: dict[str, str] | None = None
    cwd: str | None = None
    limits: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str | dict[str, str]] = Field(default_factory=dict)
    collect: list[str] = Field(default_factory=list)


def router(service: Service) -> APIRouter:
    """Its routes."""
    made = APIRouter(prefix="/v1")

    @made.post("/runs")
    async def run(asked: Run, request: Request, receipt: Annotated[bool, Field()] = False) -> dict[str, Any]:
        job = job_of(asked, service)
        outcome = await service.engine.run(job, request.scope.get("tenant", ""), request.scope.get("token"))
        return {"id": secrets.token_hex(16), **told(outcome, receipt)}

    return made


def job_of(asked: Run, service: Service) -> Job:
    """What is asked for. Raises `Problem` 422."""
    config = service.config
    return Job(
        tuple(asked.args), asked.language, asked.source, content("stdin", asked.stdin),
        {path: content(f"files.{path}", data) for path, data in asked.files.items()},
        asked.env, asked.cwd, limits(asked.limits, config.limits, config.maxima), jail=config.jail,
        collect=tuple(asked.collect),
    )  # fmt: skip


def content(field: str, given: str | Mapping[str, str]) -> bytes:
    """Text, or {"base64": ...}."""
    if isinstance(given, str):
        return given.encode("utf-8", "surrogateescape")
    if set(given) != {"base64"}:
        raise Problem(422, "field", 'a string or {"base64": "..."} is needed', field=field)
    try:
        return base64.b64decode(given["base64"], validate=True)
    except ValueError as e:
        raise Problem(422, "field", f"no base64: {e}", field=field) from None


def limits(asked: Mapping[str, Any], usual: Limits, most: Limits) -> Limits:
    """``usual`` with what is asked for, never above ``most``."""
    known = {f.name for f in fields(Limits)}
    for name in asked:
        if name not in known:
            raise Problem(
                422, "field", f"there is no limit {name!r}: {', '.join(sorted(known))}", field=f"limits.{name}"
            )
    try:
        wanted = replace(usual, **asked)
    except SpecError as e:
        raise Problem(422, "field", e.reason, field=f"limits.{e.field}") from None
    for name in asked:
        value, bound = getattr(wanted, name), getattr(most, name)
        if bound is not None and (value is None or not isinstance(value, (int, float)) or value > bound):
            why = f"at most {bound:g} is given here, not {value}"
            raise Problem(422, "limit", why, field=f"limits.{name}")
    return wanted


def told(outcome: Outcome, receipt: bool) -> dict[str, Any]:
    """As JSON."""
    said: dict[str, Any] = {"queue_s": round(outcome.queued, 6), "fault": outcome.fault or None}
    for name, result in (("compile", outcome.compile), ("result", outcome.result)):
        said[name] = None if result is None else result.to_dict()
        if said[name] is not None and not receipt:
            said[name].pop("receipt", None)
    return said
