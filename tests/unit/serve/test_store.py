"""What every store of runs promises; here of the one in memory."""

from __future__ import annotations

import asyncio

import pytest

from pyjail.serve.config import Jobs
from pyjail.serve.problem import Problem
from pyjail.serve.store import Memory, Record


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(id: str, tenant: str = "a") -> Record:
    return Record(id, tenant, {"kind": "run", "body": {}})


def test_a_run_is_claimed_once_and_its_result_is_kept():
    async def main():
        store = Memory(Jobs())
        await store.submit(record("1"))
        claimed = await store.claim("w")
        assert (claimed.id, claimed.state, claimed.attempts) == ("1", "running", 1)
        assert await store.claim("w") is None
        assert await store.finish("1", "w", {"x": 1})
        found = await store.get("1", "a")
        assert (found.state, found.result) == ("done", {"x": 1})

    asyncio.run(main())


def test_another_tenant_finds_nothing_and_cancels_nothing():
    async def main():
        store = Memory(Jobs())
        await store.submit(record("1"))
        assert await store.get("1", "b") is None
        assert await store.cancel("1", "b") is None
        assert (await store.get("1", "a")).state == "queued"

    asyncio.run(main())


def test_what_a_dead_worker_had_is_claimed_again_and_lost_after_two_attempts():
    async def main():
        clock = Clock()
        store = Memory(Jobs(attempts=2, lease=30), clock=clock)
        await store.submit(record("1"))
        await store.claim("w")
        clock.now += 20
        assert await store.beat("1", "w")
        clock.now += 20
        assert await store.claim("v") is None  # it has beaten
        clock.now += 20
        assert (await store.claim("v")).attempts == 2
        assert not await store.beat("1", "w")
        assert not await store.finish("1", "w", {})
        clock.now += 40
        assert await store.claim("u") is None
        lost = await store.get("1", "a")
        assert lost.state == "lost" and "2 times" in lost.reason

    asyncio.run(main())


def test_what_is_released_is_no_attempt():
    async def main():
        store = Memory(Jobs(attempts=1))
        await store.submit(record("1"))
        await store.claim("w")
        assert await store.release("1", "w")
        assert (await store.claim("v")).attempts == 1

    asyncio.run(main())


def test_what_is_cancelled_is_claimed_by_nobody_and_a_result_that_comes_later_is_thrown_away():
    async def main():
        store = Memory(Jobs())
        await store.submit(record("1"))
        await store.submit(record("2"))
        assert (await store.cancel("1", "a")).state == "cancelled"
        assert (await store.claim("w")).id == "2"
        assert (await store.cancel("2", "a")).state == "cancelled"
        assert not await store.finish("2", "w", {})
        assert (await store.cancel("2", "a")).state == "cancelled"

    asyncio.run(main())


def test_a_key_that_comes_again_gives_the_first_run_unless_the_request_differs():
    async def main():
        store = Memory(Jobs())
        assert (await store.submit(record("1"), "k", "d"))[1]
        again, new = await store.submit(record("2"), "k", "d")
        assert (again.id, new) == ("1", False)
        assert (await store.submit(record("3", "b"), "k", "e"))[1]  # another tenant's keys are others
        with pytest.raises(Problem) as e:
            await store.submit(record("4"), "k", "e")
        assert e.value.status == 422

    asyncio.run(main())


def test_what_has_ended_goes_when_its_time_is_over_and_a_full_store_says_so():
    async def main():
        clock = Clock()
        store = Memory(Jobs(keep=10), most=1, clock=clock)
        await store.submit(record("1"))
        clock.now += 60
        assert await store.expire() == 0  # it has not ended
        with pytest.raises(Problem) as e:
            await store.submit(record("2"))
        assert e.value.status == 503
        await store.cancel("1", "a")
        clock.now += 11
        await store.submit(record("2"))
        assert await store.get("1", "a") is None

    asyncio.run(main())
