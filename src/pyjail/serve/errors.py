"""What is told when no result is: every error of ``/v1`` as RFC 9457 says, without a word about this machine."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from pyjail import HostError, JailError, SpecError
from pyjail.serve import strict
from pyjail.serve.leaving import Left
from pyjail.serve.problem import TYPE, Problem

GONE = 499  # what nobody reads is logged as


def of(e: Exception) -> Problem:
    """What this exception is told as."""
    if isinstance(e, Problem):
        return e
    if isinstance(e, SpecError):
        return Problem(422, "field", e.reason, field=e.field)
    if isinstance(e, HostError):
        return Problem(503, "host", "this machine cannot enforce what was asked for")
    if isinstance(e, JailError):
        return Problem(500, "jail-error", "the jail failed, not the program")
    return Problem(500, "internal", "the service failed")


def response(request: Request, problem: Problem) -> JSONResponse:
    """As ``application/problem+json``."""
    request.scope["problem"] = problem.kind
    body = problem.to_dict(request.scope.get("request_id", ""))
    return JSONResponse(body, problem.status, headers=dict(problem.headers), media_type=TYPE)


def install(made: FastAPI, faced: Callable[[Scope, Problem], Response | None]) -> None:
    """Have the application answer so. ``faced``: what the client of a face is told; None: it is none."""

    async def told(request: Request, e: Exception) -> Response:
        return response(request, of(e))

    async def left(request: Request, e: Exception) -> Response:
        return Response(status_code=GONE)

    async def invalid(request: Request, e: Exception) -> Response:
        assert isinstance(e, RequestValidationError)
        if not _native(request):
            return await request_validation_exception_handler(request, e)
        return response(request, strict.refused(e.errors()))

    async def http(request: Request, e: Exception) -> Response:
        assert isinstance(e, HTTPException)
        kind = {404: "not-found", 405: "method"}.get(e.status_code, "http")
        problem = Problem(e.status_code, kind, str(e.detail), headers=e.headers)
        if _native(request):
            return response(request, problem)
        return faced(request.scope, problem) or await http_exception_handler(request, e)

    for kind in (Problem, JailError, Exception):
        made.add_exception_handler(kind, told)
    for gone in (Left, ClientDisconnect):  # the other one is of a body that has not come to its end
        made.add_exception_handler(gone, left)
    made.add_exception_handler(RequestValidationError, invalid)
    made.add_exception_handler(HTTPException, http)


def _native(request: Request) -> bool:
    path: str = request.scope["path"]
    return path == "/v1" or path.startswith("/v1/")
