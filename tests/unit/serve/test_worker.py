"""What does the runs of a store: as many at once as have slots, each to its end, whatever happens to it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from pyjail.serve.config import Jobs
from pyjail.serve.problem import Problem
from pyjail.serve.sqlite_store import SQLite
from pyjail.serve.worker import Worker
from tests.unit.serve.memory_store import Memory
from tests.unit.serve.promises import record

PATIENCE = 30


class Doing:
    """Does as a test says; remembers who is being done, and what it was told."""

    def __init__(self, act):
        self.act, self.now, self.most, self.told = act, set(), 0, []
        self.changed = asyncio.Event()

    async def do(self, record):
        self.now.add(record.id)
        self.most = max(self.most, len(self.now))
        self.changed.set()
        try:
            return await self.act(record)
        finally:
            self.now.remove(record.id)

    def over(self, record, state, result):
        self.told.append((record.id, state, result))
        self.changed.set()

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self.changed.wait()
                self.changed.clear()


@asynccontextmanager
async def working(store, act, jobs=None, most=2):
    doing = Doing(act)
    worker = Worker(store, doing, jobs or Jobs(), most)
    worker.start()
    try:
        yield worker, doing
    finally:
        await worker.end()


async def forever(_):
    await asyncio.Event().wait()


async def at_once(record):
    await asyncio.sleep(0)
    return {"id": record.id}


def test_all_are_done_no_more_at_once_than_there_are_slots():
    async def main():
        store = Memory(Jobs())

        async def act(record):
            await asyncio.sleep(0.01)
            return {"id": record.id}

        async with working(store, act) as (worker, doing):
            for n in range(10):
                await store.submit(record(str(n)))
                worker.wake()
            await doing.until(lambda: len(doing.told) == 10)
            assert doing.most == 2
            assert {state for _, state, _ in doing.told} == {"done"}
            assert (await store.get("7", "a")).result == {"id": "7"}

    asyncio.run(main())


def test_what_a_request_is_wrong_in_and_what_fails_is_its_result_and_harms_no_other():
    async def main():
        store = Memory(Jobs())

        async def act(record):
            if record.id == "1":
                raise Problem(422, "file", "no such file")
            if record.id == "2":
                raise RuntimeError("/secret/path")
            return {}

        for id in "123":
            await store.submit(record(id))
        async with working(store, act) as (_, doing):
            await doing.until(lambda: len(doing.told) == 3)
        assert (await store.get("1", "a")).result["problem"]["status"] == 422
        failed = (await store.get("2", "a")).result
        assert failed["problem"]["status"] == 500 and "secret" not in str(failed)
        assert (await store.get("3", "a")).result == {}

    asyncio.run(main())


def test_an_end_lets_what_is_running_wait_again_as_if_it_had_not_been_tried():
    async def main():
        store = Memory(Jobs(attempts=1))
        for id in "123":
            await store.submit(record(id))
        for _ in range(3):
            async with working(store, forever) as (_, doing):
                await doing.until(lambda doing=doing: len(doing.now) == 2)
            assert doing.now == set()
            assert [(state, result) for _, state, result in doing.told] == [("queued", None)] * 2
            assert [(await store.get(id, "a")).state for id in "123"] == ["queued"] * 3
        async with working(store, at_once) as (_, doing):
            await doing.until(lambda: len(doing.told) == 3)
        assert [(await store.get(id, "a")).state for id in "123"] == ["done"] * 3

    asyncio.run(main())


def test_what_is_cancelled_is_ended_before_its_canceller_goes_on():
    async def main():
        store = Memory(Jobs())
        await store.submit(record("1"))
        async with working(store, forever, most=1) as (worker, doing):
            await doing.until(lambda: doing.now)
            await store.cancel("1", "a")
            await worker.stop("1")
            assert not doing.now
            await worker.stop("1")
            await doing.until(lambda: doing.told)
            assert doing.told == [("1", "cancelled", None)]

    asyncio.run(main())


def test_what_is_cancelled_while_it_is_claimed_is_not_begun():
    """A store of others may tell of the cancelling before it tells of the claim."""

    class Slow(Memory):
        claimed, told = asyncio.Event(), asyncio.Event()

        async def claim(self, worker):
            found = await super().claim(worker)
            if found is not None and found.id == "1":
                self.claimed.set()
                await self.told.wait()
            return found

    async def main():
        store = Slow(Jobs())
        async with working(store, at_once) as (worker, doing):
            for id in "12":
                await store.submit(record(id))
            worker.wake()
            async with asyncio.timeout(PATIENCE):
                await store.claimed.wait()
            await store.cancel("1", "a")
            await worker.stop("1")
            store.told.set()
            await doing.until(lambda: doing.told)
            assert doing.told == [("2", "done", {"id": "2"})]

    asyncio.run(main())


def test_what_was_cancelled_elsewhere_is_ended_by_the_next_beat():
    async def main():
        jobs = Jobs(lease=0.15)
        store = Memory(jobs)
        await store.submit(record("1"))
        async with working(store, forever, jobs) as (_, doing):
            await doing.until(lambda: doing.now)
            await store.cancel("1", "a")
            await doing.until(lambda: doing.told)
            assert doing.told == [("1", "cancelled", None)] and not doing.now

    asyncio.run(main())


def test_a_lease_is_renewed_as_long_as_a_run_takes():
    async def main():
        jobs = Jobs(lease=1.5, attempts=1)
        store = Memory(jobs)
        await store.submit(record("1"))

        async def act(_):
            await asyncio.sleep(3)
            return {}

        async with working(store, act, jobs) as (_, doing):
            await doing.until(lambda: doing.now)
            for _ in range(20):
                await asyncio.sleep(0.1)
                assert await store.claim("other") is None
            await doing.until(lambda: doing.told)
            assert doing.told == [("1", "done", {})]

    asyncio.run(main())


def test_a_process_that_was_stopped_for_longer_than_a_lease_is_not_taken_for_dead_by_itself():
    async def main():
        jobs = Jobs(lease=0.6, attempts=1)
        store = Memory(jobs)
        await store.submit(record("1"))

        async def act(_):
            for _ in range(5):
                time.sleep(0.8)  # all of the process, as SIGSTOP does
                await asyncio.sleep(0.01)
            return {}

        async with working(store, act, jobs, most=8) as (_, doing):
            await doing.until(lambda: doing.told)
            assert doing.told == [("1", "done", {})]

    asyncio.run(main())


def test_what_finds_no_room_waits_again():
    async def main():
        store = Memory(Jobs())
        tries = []

        async def act(record):
            tries.append(record.attempts)
            if len(tries) == 1:
                raise Problem(503, "queue-full", "the queue is full")
            return {}

        await store.submit(record("1"))
        async with working(store, act) as (_, doing):
            await doing.until(lambda: len(doing.told) == 2)
            assert [state for _, state, _ in doing.told] == ["queued", "done"]
            assert tries == [1, 1]

    asyncio.run(main())


class Failing(Memory):
    """One whose calls fail at first."""

    def __init__(self, jobs, calls, error):
        super().__init__(jobs)
        self.left, self.error = dict.fromkeys(calls, 1), error

    async def _fail(self, name):
        if self.left.get(name):
            self.left[name] -= 1
            raise self.error

    async def claim(self, worker):
        await self._fail("claim")
        return await super().claim(worker)

    async def beat(self, id, worker):
        await self._fail("beat")
        return await super().beat(id, worker)

    async def finish(self, id, worker, result, sure=True):
        await self._fail("finish")
        return await super().finish(id, worker, result, sure)


@pytest.mark.parametrize("call", ["claim", "finish"])
def test_a_store_that_fails_once_is_asked_again(call):
    async def main():
        store = Failing(Jobs(lease=3), [call], OSError("gone"))
        await store.submit(record("1"))
        async with working(store, at_once, Jobs(lease=3)) as (_, doing):
            await doing.until(lambda: doing.told)
        assert (await store.get("1", "a")).result == {"id": "1"}

    asyncio.run(main())


@pytest.mark.parametrize("error", [Problem(507, "disk-full", "full"), OSError("gone")])
def test_a_run_goes_on_when_its_lease_cannot_be_renewed_once(error):
    async def main():
        jobs = Jobs(lease=0.6)
        store = Failing(jobs, ["beat"], error)
        await store.submit(record("1"))

        async def act(_):
            await asyncio.sleep(0.5)
            return {}

        async with working(store, act, jobs) as (_, doing):
            await doing.until(lambda: doing.told)
            assert doing.told == [("1", "done", {})] and not store.left["beat"]

    asyncio.run(main())


def test_a_store_that_does_not_answer_is_told_and_so_is_one_that_does_again():
    async def main():
        jobs = Jobs(lease=0.3)
        store = Failing(jobs, ["claim"], OSError("gone"))
        store.left["claim"] = 1000
        async with working(store, forever, jobs, most=1) as (worker, _):
            await store.submit(record("1"))
            async with asyncio.timeout(PATIENCE):
                while worker.stalled != "the store of runs fails":
                    await asyncio.sleep(0.05)
                store.left["claim"] = 0
                while worker.stalled:
                    await asyncio.sleep(0.05)

    asyncio.run(main())


def test_a_worker_that_died_is_told_and_one_that_was_ended_is_not():
    async def main():
        async with working(Memory(Jobs()), at_once) as (worker, _):
            assert worker.stalled == ""
            worker._claiming.cancel()
            await asyncio.wait((worker._claiming,))
            assert worker.stalled == "the worker of runs is dead"
        assert worker.stalled == ""

    asyncio.run(main())


def test_a_store_whose_thread_died_is_told(tmp_path):
    async def main():
        store = await SQLite.open(tmp_path, Jobs())
        async with working(store, at_once) as (worker, _):
            store._database._thread.shutdown()
            worker.wake()
            async with asyncio.timeout(PATIENCE):
                while worker.stalled != "the store of runs fails":
                    await asyncio.sleep(0.05)

    asyncio.run(main())


def test_a_result_that_there_is_no_room_for_is_told_as_that():
    async def main():
        store = Failing(Jobs(), ["finish"], Problem(507, "disk-full", "full"))
        await store.submit(record("1"))
        async with working(store, at_once) as (_, doing):
            await doing.until(lambda: doing.told)
        assert (await store.get("1", "a")).result["problem"]["status"] == 507

    asyncio.run(main())


def test_a_new_worker_does_what_an_earlier_one_left_when_it_died(tmp_path):
    async def main():
        store = await SQLite.open(tmp_path, Jobs())
        for id in "12":
            await store.submit(record(id))
        await store.claim("one that dies")
        await store.close()
        store = await SQLite.open(tmp_path, Jobs())
        async with working(store, at_once) as (_, doing):
            await doing.until(lambda: len(doing.told) == 2)
        assert [(await store.get(id, "a")).state for id in "12"] == ["done", "done"]
        await store.close()

    asyncio.run(main())
