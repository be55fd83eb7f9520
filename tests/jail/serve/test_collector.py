"""No request leaves anything to Python's collector: to look for it takes so long that others wait for it."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from types import FrameType
from typing import Any

import httpx
import pytest

from pyjail import serve
from pyjail.serve.config import Admission, Config, Files, Observe
from tests.jail.serve.served import PATIENCE

TIMES = 10
HELLO = {"language": "python", "source": "print(1)"}
CODE = {"code": "print(1)"}
ASKED: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "a run": ("POST", "/v1/runs", {"args": ["true"]}, {}),
    "a program": ("POST", "/v1/runs", HELLO, {}),
    "a run for later": ("POST", "/v1/runs", {"args": ["true"]}, {"Prefer": "respond-async"}),
    "an unknown field": ("POST", "/v1/runs", {"argz": ["true"]}, {}),
    "a limit above the most": ("POST", "/v1/runs", {"args": ["true"], "limits": {"memory": "900G"}}, {}),
    "no JSON": ("POST", "/v1/runs", "{", {"content-type": "application/json"}),
    "another kind of body": ("POST", "/v1/runs", "x", {"content-type": "text/plain"}),
    "another host": ("POST", "/v1/runs", {"args": ["true"]}, {"host": "evil.test"}),
    "another origin": ("POST", "/v1/runs", {"args": ["true"]}, {"origin": "http://evil.test"}),
    "a body in another code": ("POST", "/v1/runs", {"args": ["true"]}, {"content-encoding": "gzip"}),
    "no such path": ("GET", "/nope", None, {}),
    "no such run": ("GET", f"/v1/runs/{'0' * 32}", None, {}),
    "an image that there is not": ("POST", "/run", {"image": "nope", "cmd": ["true"]}, {}),
    "a face's unknown language": ("POST", "/piston/api/v2/execute", {"language": "nope", "version": "*"}, {}),
    "a face's wrong field": ("POST", "/execute", {"language": 1, "sources": {}, "commands": 1}, {}),
    "a face whose output is cleaned": ("POST", "/secure-sandbox/execute", CODE, {}),
    "a submission": (
        "POST", "/judge0/submissions?wait=true", {"language_id": 71, "source_code": "print(1)"}, {},
    ),
    "snekbox": ("POST", "/snekbox/eval", {"input": "print(1)"}, {}),
}  # fmt: skip


@pytest.fixture
def collected():
    """Kinds of objects of ours that only the collector finds; what was there before does not count."""
    gc.collect()
    gc.disable()
    yield _collected
    gc.enable()


def _collected() -> Counter[str]:
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return Counter(filter(None, map(_ours, gc.garbage)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def _ours(found: object) -> str:
    if isinstance(found, FrameType):
        return f"frame of {found.f_code.co_qualname}" if "/pyjail/" in found.f_code.co_filename else ""
    kind = type(found)
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__module__.startswith("pyjail") else ""


@pytest.mark.parametrize("asked", ASKED)
def test_a_request_leaves_nothing_to_the_collector(asked, collected, tmp_path):
    method, path, body, headers = ASKED[asked]
    given: dict[str, Any] = {"content": body} if isinstance(body, str) else {"json": body}

    async def main() -> Counter[str]:
        config = Config(
            state=str(tmp_path), files=Files(floor=0), observe=Observe(log=False),
            admission=Admission(concurrent=2),
            faces={"secure-sandbox": {"rate": 1000}},
        )  # fmt: skip
        app = serve.app(config)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=PATIENCE) as client,
        ):
            for turn in range(TIMES + 2):
                if turn == 2:  # what is made once is
                    collected()
                answer = await client.request(method, path, headers=headers, **given)
                assert answer.status_code < 500, answer.text
            del answer
            await asyncio.sleep(0.05)  # until it has been counted
            return collected()

    found = asyncio.run(main())
    assert all(count < TIMES for count in found.values()), found
