"""What goes wrong inside is told without a word about this machine, by ``/v1`` and by every face."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from pyjail import HostError, JailError, SetupError
from pyjail.serve import errors
from pyjail.serve.application import make
from pyjail.serve.config import Config, Observe
from pyjail.serve.engine import Engine

SECRET = "/srv/hidden/place"
FAILURES = [
    ValueError(SECRET), OSError(2, "No such file", SECRET), HostError("memory", SECRET, SECRET), JailError(SECRET),
    SetupError("mount", 3, SECRET, 13, SECRET), KeyError(SECRET), RecursionError(SECRET), MemoryError(SECRET),
]  # fmt: skip
ASKED = [
    ("/v1/runs", {"args": ["true"]}),
    ("/v1/judge", {"language": "bash", "source": "true", "tests": [{"input": ""}]}),
    ("/boxer/run", {"image": "python:3", "cmd": ["true"]}),
    ("/codebox/execute", {"sources": {}, "commands": [{"command": "true"}]}),
    ("/secure-sandbox/execute", {"code": "1"}),
    ("/go-judge/run", {"cmd": [{"args": ["/bin/true"]}]}),
    ("/snekbox/eval", {"input": "1"}),
    ("/sandboxfusion/run_code", {"code": "1", "language": "python"}),
]


@pytest.mark.parametrize("e", FAILURES, ids=lambda e: type(e).__name__)
def test_an_exception_is_told_as_a_problem_that_says_nothing_of_it(e):
    problem = errors.of(e)
    assert problem.status in (500, 503) and SECRET not in str(problem.to_dict())


@pytest.mark.parametrize("e", FAILURES, ids=lambda e: type(e).__name__)
def test_no_answer_has_anything_of_what_went_wrong_inside(e, monkeypatch):
    async def fails(*_, **__):
        raise e

    for name in ("run", "steps", "together"):
        monkeypatch.setattr(Engine, name, fails)
    monkeypatch.setattr("pyjail.serve.judging._judgement", fails)

    async def ask():
        app = make(Config(observe=Observe(log=False)))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [await client.post(path, json=body) for path, body in ASKED]

    for answer in asyncio.run(ask()):
        assert answer.status_code in (200, 400, 422, 500, 503)
        assert SECRET not in answer.text and "Traceback" not in answer.text and ".py" not in answer.text
