"""The playground: its page, whose policy lets in nothing but this server, and the files that it is made of."""

from __future__ import annotations

import gzip
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pyjail.serve.config import Config
from pyjail.serve.problem import Problem

SECURE_SANDBOX = "/secure-sandbox"  # its page; without a "/" at the end, for the page asks for what lies beside itself
_NONCE = "__NONCE__"  # where the page wants it
_FOR_EVER = "public, max-age=31536000, immutable"  # a file's name has the hash of its content
_WITHOUT = ("camera", "microphone", "geolocation", "usb", "serial", "payment", "display-capture", "fullscreen")
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


@dataclass(frozen=True)
class Asset:
    """A file of the page, as it is sent: ``plain``, or ``packed`` by gzip."""

    plain: bytes
    type: str

    @cached_property
    def packed(self) -> bytes:
        return gzip.compress(self.plain, 9, mtime=0)


@cache
def assets() -> Mapping[str, Asset]:
    """All files that are served, by name, and no other: as the build listed them."""
    place = files("pyjail.serve") / "static"
    manifest = json.loads((place / "manifest.json").read_bytes())
    return {name: Asset((place / name).read_bytes(), row["type"]) for name, row in manifest["files"].items()}


@cache
def _page() -> str:
    return (files("pyjail.serve") / "static" / "index.html").read_text()


def headers(config: Config, nonce: str) -> dict[str, str]:
    """Of the page."""
    ancestors = " ".join(config.edge.embed) or "'none'"
    return {
        **_ALWAYS,
        "Content-Security-Policy": _POLICY.format(nonce=nonce, ancestors=ancestors),
        "Permissions-Policy": ", ".join(f"{name}=()" for name in _WITHOUT),
        "Cache-Control": "no-store",
        **({} if config.edge.embed else {"X-Frame-Options": "DENY"}),
    }


def router(config: Config) -> APIRouter:
    """Its routes; none where the configuration wants no page."""
    made = APIRouter()
    if not config.playground:
        return made

    async def page(_: Request) -> Response:
        nonce = secrets.token_urlsafe(18)
        return Response(_page().replace(_NONCE, nonce), headers=headers(config, nonce), media_type="text/html")

    async def static(request: Request) -> Response:
        asset = assets().get(request.path_params["name"])
        if asset is None:
            raise Problem(404, "not-found", "there is no such file")
        sent = {**_ALWAYS, "Cache-Control": _FOR_EVER, "Vary": "Accept-Encoding"}
        packed = "gzip" in request.headers.get("accept-encoding", "").lower()
        if packed:
            sent["Content-Encoding"] = "gzip"
        body = await run_in_threadpool(lambda: asset.packed) if packed else asset.plain  # the first time takes a while
        return Response(body, headers=sent, media_type=asset.type)

    async def there(_: Request) -> Response:
        return Response(status_code=307, headers={**_ALWAYS, "Location": f"..{SECURE_SANDBOX}"})

    made.add_route("/", page, methods=["GET"], include_in_schema=False)
    if config.faces.get("secure-sandbox", {}).get("enabled", True):
        made.add_route(SECURE_SANDBOX, page, methods=["GET"], include_in_schema=False)
        made.add_route(f"{SECURE_SANDBOX}/", there, methods=["GET"], include_in_schema=False)
    made.add_route("/static/{name}", static, methods=["GET"], include_in_schema=False)
    return made
