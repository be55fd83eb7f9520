"""Routes that need no token: the list is held against all routes that there are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from pyjail import serve
from pyjail.serve import auth
from pyjail.serve.config import Config
from tests.unit.serve.before import SECRET, TOKEN

OPEN = {
    ("GET", "/"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/static/{name}"), ("GET", "/v1/openapi.json"),
    ("GET", "/docs"), ("GET", "/docs/{name}"), ("GET", "/swagger"), ("GET", "/swagger/{name}"), ("GET", "/favicon.ico"),
    ("GET", "/secure-sandbox"), ("GET", "/secure-sandbox/"), ("GET", "/boxer/swagger"), ("GET", "/boxer/swagger/"), ("GET", "/boxer/swagger/{name}"),
    ("GET", "/boxer/swagger/index.html"),
    ("GET", "/boxer/swagger/doc.json"), ("GET", "/swagger/doc.json"), ("GET", "/boxer/healthz"), ("GET", "/version"), ("GET", "/go-judge/version"), ("GET", "/judge0/version"),
    ("GET", "/config"), ("GET", "/go-judge/config"),
    *(("GET", f"/{face}/{what}") for face in ("codebox", "secure-sandbox", "sandboxfusion") for what in ("docs", "openapi.json")),
}  # fmt: skip


def below(routes: Sequence[Any]) -> Iterator[Any]:
    """All routes, those of routers that were included, too."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from below(inner.routes)


APP = serve.app(Config(tokens=(TOKEN,), faces={}))
ROUTES = {(method, route.path) for route in below(APP.routes) for method in getattr(route, "methods", None) or ("WS",)}


def statuses(asked: Sequence[tuple[str, str]], **headers: str) -> dict[tuple[str, str], int]:
    """What is answered to each."""

    async def ask() -> dict[tuple[str, str], int]:
        transport = httpx.ASGITransport(APP, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return {
                (method, path): (await client.request(method, path, headers=headers)).status_code
                for method, path in asked
            }

    return asyncio.run(ask())


def test_there_are_routes():
    assert ("POST", "/v1/runs") in ROUTES and ("POST", "/execute") in ROUTES and len(ROUTES) > 20


def test_every_route_needs_a_token_but_those_that_are_meant_not_to():
    closed = [
        (method, re.sub(r"{\w+(:\w+)?}", "x", path))
        for method, path in sorted(ROUTES)
        if method != "WS" and ("GET" if method == "HEAD" else method, path) not in OPEN
    ]
    assert set(statuses(closed).values()) == {401}
    assert set(statuses(closed, Authorization="Bearer wrong").values()) == {401}


def test_what_is_open_is_answered_without_a_token():
    there = [path for method, path in ROUTES & OPEN if "{" not in path]
    assert 401 not in statuses([("GET", path) for path in there]).values()


def test_no_form_of_a_path_leads_to_a_route_that_needs_one():
    """Whatever the router makes of it, the edge saw the same path."""
    forms = [
        "//v1/runs", "/v1//runs", "/./v1/runs", "/healthz/../v1/runs", "/static/../v1/runs", "/static/%2e%2e/v1/runs",
        "/healthz%2f..%2fv1%2fruns", "/V1/RUNS", "/v1/runs/", "/v1/runs;x", "/v1/runs%00", "/healthz/v1/runs", "/docs/../run",
        "/%76%31/runs", "/swagger/../execute", "/healthz?/v1/runs", "/v1/openapi.json/../runs",
    ]  # fmt: skip
    for (method, path), status in statuses([("POST", form) for form in forms]).items():
        assert status == 401, (method, path)


def test_with_a_token_they_are_answered():
    assert statuses([("GET", "/v1/runs/x")], Authorization=f"Bearer {SECRET}").popitem()[1] == 404


def test_what_is_listed_as_open_is_meant_to_be():
    exact = {path for _, path in OPEN if "{" not in path}
    assert exact >= auth.OPEN
    assert set(auth.OPEN_BELOW) == {path.partition("{")[0] for _, path in OPEN if "{" in path}
