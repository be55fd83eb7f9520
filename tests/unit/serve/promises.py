"""What every store of runs promises: the tests of a module that has a fixture ``opened``, a context manager that opens one."""

from __future__ import annotations

import asyncio

import pytest

from pyjail.serve.config import Jobs
from pyjail.serve.problem import Problem
from pyjail.serve.store import Record


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(id: str, tenant: str = "a") -> Record:
    return Record(id, tenant, {"kind": "run", "body": {}})


def test_a_run_is_claimed_once_and_its_result_is_kept(opened):
    async def main():
        async with opened(Jobs()) as store:
            await store.submit(record("1"))
            claimed = await store.claim("w")
            assert (claimed.id, claimed.state, claimed.attempts) == ("1", "running", 1)
            assert await store.claim("w") is None
            assert await store.finish("1", "w", {"x": 1})
            found = await store.get("1", "a")
            assert (found.state, found.result) == ("done", {"x": 1})

    asyncio.run(main())


def test_what_its_client_waits_for_is_kept_as_any_other(opened):
    async def main():
        async with opened(Jobs()) as store:
            await store.submit(Record("1", "a", {"kind": "run", "body": {}, "awaited": True}))
            claimed = await store.claim("w")
            assert not claimed.sure
            assert await store.finish("1", "w", {"x": 1}, claimed.sure)
            assert (await store.get("1", "a")).result == {"x": 1}

    asyncio.run(main())


def test_another_tenant_finds_nothing_and_cancels_nothing(opened):
    async def main():
        async with opened(Jobs()) as store:
            await store.submit(record("1"))
            assert await store.get("1", "b") is None
            assert await store.cancel("1", "b") is None
            assert (await store.get("1", "a")).state == "queued"

    asyncio.run(main())


def test_what_has_ended_can_be_dropped_by_its_tenant(opened):
    async def main():
        async with opened(Jobs()) as store:
            for id in "123":
                await store.submit(record(id), f"k{id}", "d")
            assert not await store.drop("1", "a")
            await store.claim("w")
            assert not await store.drop("1", "a")
            await store.finish("1", "w", {"x": "y" * 100_000})
            await store.cancel("2", "a")
            assert not await store.drop("1", "b")
            assert await store.drop("1", "a")
            assert await store.drop("2", "a")
            assert not await store.drop("1", "a")
            assert await store.get("1", "a") is None
            assert (await store.submit(record("4"), "k1", "other"))[1]  # its key is free again
            assert (await store.claim("w")).id == "3"

    asyncio.run(main())


def test_what_a_dead_worker_had_is_claimed_again_and_lost_after_two_attempts(opened):
    async def main():
        clock = Clock()
        async with opened(Jobs(attempts=2, lease=30), clock=clock) as store:
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


def test_what_is_released_is_no_attempt(opened):
    async def main():
        async with opened(Jobs(attempts=1)) as store:
            await store.submit(record("1"))
            await store.claim("w")
            assert await store.release("1", "w")
            assert (await store.claim("v")).attempts == 1

    asyncio.run(main())


def test_what_is_cancelled_is_claimed_by_nobody_and_a_result_that_comes_later_is_thrown_away(opened):
    async def main():
        async with opened(Jobs()) as store:
            await store.submit(record("1"))
            await store.submit(record("2"))
            assert (await store.cancel("1", "a")).state == "cancelled"
            assert (await store.claim("w")).id == "2"
            assert (await store.cancel("2", "a")).state == "cancelled"
            assert not await store.finish("2", "w", {})
            assert (await store.cancel("2", "a")).state == "cancelled"

    asyncio.run(main())


def test_a_key_that_comes_again_gives_the_first_run_unless_the_request_differs(opened):
    async def main():
        async with opened(Jobs()) as store:
            assert (await store.submit(record("1"), "k", "d"))[1]
            again, new = await store.submit(record("2"), "k", "d")
            assert (again.id, new) == ("1", False)
            assert (await store.submit(record("3", "b"), "k", "e"))[1]  # another tenant's keys are others
            with pytest.raises(Problem) as e:
                await store.submit(record("4"), "k", "e")
            assert e.value.status == 422

    asyncio.run(main())


def test_what_has_ended_goes_when_its_time_is_over_and_a_full_store_says_so(opened):
    async def main():
        clock = Clock()
        async with opened(Jobs(keep=10), most=1, clock=clock) as store:
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


def test_what_was_asked_for_and_what_came_of_it_are_kept_as_they_are_however_long(opened):
    odd = {"text": "é\u0000\ud800 \U0001f600 'x\"", "none": None, "deep": [[{"": 0.1}]], "long": "x" * 300_000}

    async def main():
        async with opened(Jobs()) as store:
            made, _ = await store.submit(Record("1", "a'\"\u00e9", odd))
            assert made.spec == odd and made.created <= made.expires
            assert (await store.claim("w")).spec == odd
            assert await store.finish("1", "w", odd)
            found = await store.get("1", made.tenant)
            assert (found.result, found.spec, found.reason) == (odd, odd, "")
            assert found.ended >= found.created

    asyncio.run(main())


def test_only_the_worker_whose_run_it_is_says_what_came_of_it(opened):
    async def main():
        async with opened(Jobs()) as store:
            await store.submit(record("1"))
            assert not await store.finish("1", "w", {})  # it waits
            assert not await store.release("1", "w")
            await store.claim("w")
            for call in (store.beat, store.release):
                assert not await call("1", "v")
                assert not await call("2", "w")
            assert not await store.finish("1", "v", {})
            assert await store.finish("1", "w", {"x": 1})
            assert not await store.finish("1", "w", {"x": 2})
            assert not await store.release("1", "w")
            assert not await store.beat("1", "w")
            assert (await store.get("1", "a")).result == {"x": 1}

    asyncio.run(main())


def test_many_workers_at_once_have_each_run_once_and_in_the_order_of_coming(opened):
    async def main():
        async with opened(Jobs()) as store:
            for n in range(20):
                await store.submit(record(str(n)))
            assert (await store.claim("first")).id == "0"
            claimed = await asyncio.gather(*(store.claim(f"w{n}") for n in range(25)))
            assert sorted(int(r.id) for r in claimed if r) == list(range(1, 20))

    asyncio.run(main())


def test_a_key_that_comes_many_times_at_once_makes_one_run(opened):
    async def main():
        async with opened(Jobs()) as store:
            made = await asyncio.gather(*(store.submit(record(str(n)), "k", "d") for n in range(10)))
            assert [new for _, new in made].count(True) == 1
            assert len({kept.id for kept, _ in made}) == 1
            assert (await store.claim("w")) and await store.claim("w") is None

    asyncio.run(main())


def test_a_caller_that_gives_up_leaves_the_store_as_it_was_or_as_it_is_to_be(opened):
    async def main():
        async with opened(Jobs()) as store:
            for n in range(10):
                task = asyncio.create_task(store.submit(record(str(n))))
                await asyncio.sleep(0.001 * (n % 3))
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await store.submit(record("last"))
            found = []
            while claimed := await store.claim("w"):
                found.append(claimed.id)
            assert found[-1] == "last" and len(set(found)) == len(found)

    asyncio.run(main())


def test_files_that_a_run_names_are_told_until_it_has_ended(opened):
    one, two, three = (digit * 64 for digit in "abc")

    def names(id, tenant, *digests):
        files = {digest[:3]: {"sha256": digest} for digest in digests}
        return Record(id, tenant, {"kind": "run", "body": {"args": ["x"], "files": {"t": "text", **files}}})

    async def main():
        async with opened(Jobs()) as store:
            assert await store.named() == {}
            await store.submit(names("1", "a", one, two))
            await store.submit(names("2", "b", one))
            await store.submit(record("3"))
            await store.submit(Record("4", "a", {"kind": "run", "body": {"source": f'"sha256":"{three}"'}}))
            assert await store.named() == {"a": {one, two}, "b": {one}}
            claimed = await store.claim("w")
            assert await store.named() == {"a": {one, two}, "b": {one}}
            await store.finish(claimed.id, "w", {})
            await store.cancel("2" if claimed.id == "1" else "1", "b" if claimed.id == "1" else "a")
            assert await store.named() == {}

    asyncio.run(main())


def test_a_tenant_s_runs_of_one_kind_are_listed_the_newest_first(opened):
    async def main():
        clock = Clock()
        async with opened(Jobs(keep=10), clock=clock) as store:
            for id, tenant, kind in (
                ("1", "a", "x"),
                ("2", "a", "x"),
                ("3", "b", "x"),
                ("4", "a", "run"),
                ("5", "a", "x"),
            ):
                await store.submit(Record(id, tenant, {"kind": kind, "body": {"text": ',"kind":"run",' * 9}}))
                clock.now += 1
            await store.claim("w")
            assert await store.listed("a", "x", 0, 9) == (["5", "2", "1"], 3)
            assert await store.listed("a", "x", 1, 1) == (["2"], 3)
            assert await store.listed("a", "x", 3, 9) == ([], 3)
            assert await store.listed("b", "x", 0, 9) == (["3"], 1)
            assert await store.listed("a", "run", 0, 9) == (["4"], 1)
            assert await store.listed("a", "ru", 0, 9) == await store.listed("c", "x", 0, 9) == ([], 0)
            await store.cancel("2", "a")
            assert await store.drop("2", "a")
            assert await store.listed("a", "x", 0, 9) == (["5", "1"], 2)

    asyncio.run(main())


def test_what_one_tenant_keeps_is_bounded_and_is_no_matter_of_others(opened):
    long = {"long": "x" * 40_000}

    async def main():
        async with opened(Jobs(total=100_000)) as store:
            for id in ("1", "2"):
                await store.submit(Record(id, "a", long))
            with pytest.raises(Problem) as e:
                await store.submit(Record("3", "a", long))
            assert (e.value.status, e.value.kind) == (507, "quota")
            await store.submit(Record("4", "b", long))
            await store.submit(Record("5", "a", {}))  # what is short is not counted
            assert (await store.claim("w")).id == "1"
            assert await store.finish("1", "w", {"stdout": "y" * 70_000})
            await store.cancel("2", "a")
            assert await store.drop("2", "a")
            with pytest.raises(Problem):
                await store.submit(Record("3", "a", long))  # its result counts
            assert await store.drop("1", "a")
            for id in ("6", "7"):
                await store.submit(Record(id, "a", long))

    asyncio.run(main())
