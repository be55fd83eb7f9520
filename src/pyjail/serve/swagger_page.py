"""``/docs`` and ``/swagger``: the interface as a page, by Swagger UI, whose files come from here and nowhere else."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pyjail.serve.problem import Problem

_TYPES = {
    "swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "start.js": "text/javascript",
    "swagger-ui-bundle.js.LICENSE.txt": "text/plain", "LICENSE": "text/plain", "NOTICE": "text/plain",
}  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@cache
def _file(name: str) -> tuple[bytes, bytes]:
    """As it is, and packed by gzip."""
    plain = (files("pyjail.serve") / "swagger" / name).read_bytes()
    return plain, gzip.compress(plain, 6, mtime=0)


def router() -> APIRouter:
    """Its routes."""
    made = APIRouter()

    def page(_: Request) -> Response:
        return Response(_file("index.html")[0], headers=_HEADERS, media_type="text/html")

    def part(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _TYPES:
            raise Problem(404, "not-found", "there is no such file")
        packed = "gzip" in request.headers.get("accept-encoding", "").lower()
        headers = _HEADERS | {"Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if packed else {})
        return Response(_file(name)[packed], headers=headers, media_type=_TYPES[name])

    for path in ("/docs", "/swagger"):
        made.add_route(path, page, methods=["GET"], include_in_schema=False)
    made.add_route("/swagger/{name}", part, methods=["GET"], include_in_schema=False)
    return made
