"""``/docs`` and ``/swagger``: the interface as a page, by Swagger UI, whose files come from here and nowhere else.
``/boxer/swagger``: Boxer's, at its paths; ``/NAME/docs`` and ``/NAME/openapi.json``: those of faces made of FastAPI."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pyjail.serve.faces import boxer_doc, described
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


def _page(below: str = "swagger/", described: str = "v1/openapi.json") -> Callable[[Request], Response]:
    """The page whose files are ``below`` its own path; ``described``: where what it shows is described."""
    plain = _file("index.html")[0]
    text = plain.replace(b'"swagger/', b'"' + below.encode()).replace(b"v1/openapi.json", described.encode())
    return lambda _: Response(text, headers=_HEADERS, media_type="text/html")


def router(on: Callable[[str], bool]) -> APIRouter:
    """Its routes; those of faces that are ``on``, too."""
    made = APIRouter()

    def part(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _TYPES:
            raise Problem(404, "not-found", "there is no such file")
        packed = "gzip" in request.headers.get("accept-encoding", "").lower()
        headers = _HEADERS | {"Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if packed else {})
        return Response(_file(name)[packed], headers=headers, media_type=_TYPES[name])

    def told(description: Mapping[str, Any]) -> Callable[[Request], Response]:
        said = json.dumps(description).encode()
        return lambda _: Response(said, headers=_HEADERS, media_type="application/json")

    routes = {"/docs": _page(), "/swagger": _page()}
    for name in filter(on, described.FACES):
        routes |= {
            f"/{name}/docs": _page("../swagger/", "openapi.json"),
            f"/{name}/openapi.json": told(described.description(name)),
        }
    if on("boxer"):
        inner = _page("", "doc.json")
        routes |= {
            "/swagger/doc.json": told(boxer_doc.description("/")),
            "/boxer/swagger/doc.json": told(boxer_doc.description("/boxer")),
            "/boxer/swagger": _page("swagger/", "swagger/doc.json"), "/boxer/swagger/": inner,
            "/boxer/swagger/index.html": inner, "/boxer/swagger/{name}": part,
        }  # fmt: skip
    routes["/swagger/{name}"] = part
    for path, answer in routes.items():
        made.add_route(path, answer, methods=["GET"], include_in_schema=False)
    return made
