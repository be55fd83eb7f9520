"""Who is refused at the edge when the queue is full, before anything is read of him."""

from __future__ import annotations

import asyncio

import pytest

from pyjail.serve import crowd, watch
from pyjail.serve.admission import Turns
from pyjail.serve.config import Admission, Config, Token
from pyjail.serve.crowd import OURS, Template
from pyjail.serve.problem import Problem
from pyjail.serve.watch import Watch, current
from tests.unit.serve.before import JSON, Before

ROUTES = {**OURS, ("POST", "/boxer/run"): Template("/boxer/run")}


def scope(path="/v1/runs", method="POST", tenant="x", token=None):
    made = {"type": "http", "method": method, "path": path, "tenant": tenant, "token": token}
    current.set(watch.of(made))  # as its task has it
    return made


@pytest.fixture(autouse=True)
def request_of_its_own():
    reset = current.set(Watch())
    yield
    current.reset(reset)


async def crowded(turns: Turns) -> list[asyncio.Task[None]]:
    """One runs, and others fill the queue."""

    async def stay():
        async with turns.slot("a"):
            await asyncio.sleep(1000)

    tasks = [asyncio.create_task(stay()) for _ in range(3)]
    while not turns.crowded:
        await asyncio.sleep(0)
    return tasks


async def gone(tasks) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_only_who_would_wait_for_a_slot_is_refused():
    async def main():
        turns = Turns(Admission(concurrent=1, queue=2))
        full = crowd.refusal(turns, ROUTES)
        assert full(scope(), {}) is None
        turns.came()
        tasks = await crowded(turns)
        for path in ("/v1/runs", "/v1/judge", "/boxer/run"):
            asked = scope(path)
            problem = full(asked, {})
            assert problem is not None and (problem.status, problem.kind) == (503, "queue-full"), path
            assert 1 <= int(problem.headers["Retry-After"]) <= 60
            assert asked["route"].path == path
        for path, method in (("/v1/runs/1", "DELETE"), ("/v1/runs", "GET"), ("/v1/files", "POST"), ("/healthz", "GET")):
            assert full(scope(path, method), {}) is None, path
        for header in ("prefer", "idempotency-key"):
            assert full(scope(), {header: "respond-async"}) is None
        await gone(tasks)
        assert full(scope(), {}) is None

    asyncio.run(main())


def test_those_who_come_at_the_same_time_are_not_all_let_in():
    async def main():
        turns = Turns(Admission(concurrent=1, queue=2))
        full = crowd.refusal(turns, ROUTES)

        async def stay():
            async with turns.slot("a"):
                await asyncio.sleep(1000)

        tasks = [asyncio.create_task(stay())]
        await asyncio.sleep(0)
        told = []
        for _ in range(4):  # requests whose bodies are still read
            told.append(full(scope(), {}) is None)
            seen = current.get()
        assert told == [True, True, False, False] and not turns.waiting
        current.set(seen)
        turns.came()  # one that was refused was not counted
        assert turns.crowded
        await gone(tasks)

    asyncio.run(main())


def test_a_slot_that_those_who_wait_may_not_have_is_for_others():
    async def main():
        turns = Turns(Admission(concurrent=2, queue=2))
        full = crowd.refusal(turns, ROUTES)
        one = Token("a", "", concurrent=1)

        async def stay():
            async with turns.slot("a", one):
                await asyncio.sleep(1000)

        tasks = [asyncio.create_task(stay()) for _ in range(3)]
        while not turns.crowded:
            await asyncio.sleep(0)
        assert full(scope(), {}) is None
        assert full(scope(tenant="a", token=one), {}) is not None
        await gone(tasks)

    asyncio.run(main())


@pytest.mark.parametrize("refused", [True, False])
def test_nothing_is_read_of_who_is_refused(refused):
    problem = Problem(503, "queue-full", "the queue is full", retry=3)
    before = Before(Config(), refusal=lambda scope, headers: problem if refused else None)
    answer = before.ask(headers=JSON, body=b"{}")
    assert answer.status == (503 if refused else 200)
    assert len(before.unread) == refused and len(before.route.scopes) == (not refused)
    if refused:
        assert answer.kind == "queue-full" and answer.headers["retry-after"] == "3"
    assert before.ask(headers={**JSON, "host": "elsewhere"}, body=b"{}").status != 503  # what is cheaper is first
