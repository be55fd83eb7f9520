"""aio.Pool."""

from __future__ import annotations

import asyncio
import os
import threading

import anyio
import pytest
import trio
import uvloop

import pyjail
from pyjail import Jail, Limits, aio
from tests.host_side import keepers_of, programs
from tests.inside import idle_keepers
from tests.jail.aio.loops import FOREVER, there


def test_a_pool_is_warm_when_it_is_entered_and_gone_when_it_is_left(loop, others):
    async def main():
        async with aio.Pool(2, Jail(hostname="judge"), limits=Limits(open_files=77)) as pool:
            assert (pool.size, pool.idle, pool.running) == (2, 2, 0)
            warm = {k.pid for k in idle_keepers(pool)}
            assert (await pool.run(["sh", "-c", "hostname; ulimit -n"])).stdout == b"judge\n77\n"
            assert {k.pid for k in idle_keepers(pool)} == warm
        assert not set(keepers_of(os.getpid())) - others
        with pytest.raises(pyjail.PoolClosedError):
            await pool.run(["true"])
        pool = aio.Pool(1)  # without the block: when it is needed
        assert pool.idle == 0
        assert (await pool.run(["true"])).ok
        await pool.close()
        await pool.close()
        assert not set(keepers_of(os.getpid())) - others

    loop(main)


def test_map_keeps_the_order_and_the_first_error_cancels_the_others(loop):
    async def main():
        async with aio.Pool(2) as pool:
            commands = ({"args": ["cat"], "input": b"%d" % i} if i % 2 else ["echo", "-n", str(i)] for i in range(9))
            assert [r.stdout for r in await pool.map(commands)] == [b"%d" % i for i in range(9)]
            assert await pool.map([]) == []
            with pytest.raises(FileNotFoundError):
                await pool.map([["sleep", "1000"], ["nope"], ["true"]], FOREVER)
            assert programs(b"sleep") == []
            with anyio.move_on_after(0.3) as scope:
                await pool.map([["sleep", "1000"]] * 3, FOREVER)
            assert scope.cancelled_caught
            assert (programs(b"sleep"), pool.running, pool.waiting) == ([], 0, 0)

    loop(main)


def test_close_waits_and_terminate_does_not(loop):
    outcomes = []

    async def one(pool, *args, **options):
        try:
            outcomes.append((await pool.run(*args, **options)).verdict.value)
        except pyjail.PoolClosedError as e:
            outcomes.append(str(e))

    async def main():
        reader, writer = os.pipe()
        async with anyio.create_task_group() as group:
            pool = aio.Pool(1)
            for _ in range(2):
                group.start_soon(lambda: one(pool, ["cat"], stdin=reader))
            await there(lambda: (pool.running, pool.waiting) == (1, 1))
            group.start_soon(pool.close)
            await there(lambda: "closed" in repr(pool))
            assert outcomes == []
            os.close(writer)
        assert outcomes == ["ok", "ok"]
        os.close(reader)
        del outcomes[:]
        async with anyio.create_task_group() as group:
            pool = aio.Pool(1)
            for _ in range(2):
                group.start_soon(one, pool, ["sleep", "1000"], FOREVER)
            await there(lambda: pool.waiting == 1 and programs(b"sleep"))
            await pool.terminate()
        assert sorted(outcomes) == ["jail_error", "this pool was terminated"]
        with pytest.raises(ZeroDivisionError):
            async with aio.Pool(1) as pool, anyio.create_task_group() as group:
                group.start_soon(one, pool, ["sleep", "1000"], FOREVER)
                await there(lambda: programs(b"sleep"))
                try:
                    raise ZeroDivisionError
                finally:
                    group.cancel_scope.cancel()
        assert programs(b"sleep") == []

    try:
        loop(main)
    except* ZeroDivisionError:
        pass


def test_exhausted_is_told(loop):
    async def main():
        reader, writer = os.pipe()
        async with aio.Pool(1, timeout=0.05) as pool, anyio.create_task_group() as group:
            group.start_soon(lambda: pool.run(["cat"], stdin=reader))
            await there(lambda: pool.running == 1)
            for options in ({}, {"timeout": 0.02}):
                with pytest.raises(pyjail.PoolExhaustedError) as e:
                    await pool.run(["true"], **options)
                assert e.value.size == 1
            os.close(writer)
        os.close(reader)

    loop(main)


def test_a_pinned_pool(loop):
    async def main():
        async with aio.Pool(1, pin=True) as pool:
            assert (await pool.run(["nproc"])).stdout == b"1\n"
        with pytest.raises(pyjail.HostError):
            aio.Pool(4096, pin=True)

    loop(main)


def test_one_pool_for_the_loops_of_several_threads():
    pool = aio.Pool(2)
    results = []

    async def main(i: int):
        results.extend([(await pool.run(["echo", str(i)])).stdout for _ in range(5)])

    runners = [
        lambda: asyncio.run(main(0)),
        lambda: uvloop.run(main(1)),
        lambda: trio.run(main, 2),
        lambda: asyncio.run(main(3)),
    ]
    threads = [threading.Thread(target=run) for run in runners]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results) == sorted([b"%d\n" % i for i in range(4)] * 5)
    asyncio.run(pool.close())
