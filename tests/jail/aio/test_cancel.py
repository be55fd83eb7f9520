"""aio.run: cancellation, interrupts, keepers that die."""

from __future__ import annotations

import asyncio
import os
import signal

import anyio
import pytest

import pyjail
from pyjail import Jail, Verdict, aio
from tests.conftest import SLOW
from tests.host_side import alive, keeper_below, keepers_of, programs
from tests.inside import busy_keepers, idle_keepers
from tests.jail.aio.loops import FOREVER, there
from tests.scripts import script


@pytest.mark.parametrize("kind", ["plain", "files", "collect", "fresh"])
def test_cancelling_kills_the_jail_and_is_raised_when_it_is_gone(loop, kind):
    options = {
        "plain": {},
        "files": {"files": {"a": b"x"}},
        "collect": {"collect": ["a"]},
        "fresh": {"jail": Jail(fresh=True)},
    }[kind]
    after = []

    async def victim():
        try:
            await aio.run(["sh", "-c", "sleep 1000 & sleep 1000"], FOREVER, **options)
        finally:
            after.append(programs(b"sleep"))

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(victim)
            await there(lambda: len(programs(b"sleep")) == 2)
            group.cancel_scope.cancel()
        assert after == [[]]
        assert (await aio.run(["echo", "x"])).stdout == b"x\n"

    loop(main)


def test_cancelling_in_every_phase_leaves_nothing(loop):
    """In the queue, while a keeper starts, while files go in, in the run, while files come out."""

    async def main():
        for i in range(int(60 / SLOW) + 10):
            with anyio.move_on_after(0.0004 * i) as scope:
                await aio.run(
                    ["sh", "-c", "head -c 3000000 /dev/zero > b"],
                    files={"a": bytes(1 << 20)},
                    collect=["b"],
                    jail=Jail(fresh=i % 3 == 0),
                )
            del scope
        assert programs(b"head") == []

    loop(main)


def test_cancelling_those_who_wait_lets_the_next_ones_in(loop):
    reader, writer = os.pipe()
    done = []

    async def main():
        async with aio.Pool(1) as pool, anyio.create_task_group() as group:
            group.start_soon(lambda: pool.run(["cat"], stdin=reader))
            await there(lambda: pool.running == 1)
            async with anyio.create_task_group() as waiting:
                for _ in range(5):
                    waiting.start_soon(pool.run, ["touch", "x"])
                await there(lambda: pool.waiting == 5)
                waiting.cancel_scope.cancel()
            assert pool.waiting == 0
            group.start_soon(lambda: _append(done, pool))
            await there(lambda: pool.waiting == 1)
            os.close(writer)

    async def _append(to, pool):
        to.append((await pool.run(["echo", "x"])).stdout)

    loop(main)
    os.close(reader)
    assert done == [b"x\n"]


def test_asyncio_cancel_again_and_again_still_waits_for_the_end():
    async def main():
        task = asyncio.create_task(aio.run(["sleep", "1000"], FOREVER, files={"a": b""}))
        await there(lambda: programs(b"sleep"))
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled()
        assert programs(b"sleep") == []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await aio.run(["sleep", "1000"], FOREVER)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aio.run(["sleep", "1000"], FOREVER), 0.2)
        assert programs(b"sleep") == []

    asyncio.run(main())


@pytest.mark.parametrize("which", ["asyncio", "uvloop", "trio"])
def test_an_interrupt_ends_the_program_when_its_jail_is_gone(which):
    code = f"""
    import asyncio, os, pyjail, signal, sys, threading, time, trio, uvloop
    from tests.host_side import programs
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever we were started with
    def interrupt():
        while not programs(b"sleep"): time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    async def main():
        await pyjail.aio.run(["sleep", "1000"], pyjail.Limits(wall_time=None))
    try: {{"asyncio": lambda: asyncio.run(main()), "uvloop": lambda: uvloop.run(main()), "trio": lambda: trio.run(main)}}["{which}"]()
    except KeyboardInterrupt: print("interrupted", programs(b"sleep"))
    """
    out = script(code)
    assert out.stdout == "interrupted []\n", out.stderr


# ---- keepers that die ----


def test_a_keeper_killed_in_mid_run_is_a_jail_error_and_an_idle_one_is_replaced(loop):
    async def main():
        results = []

        async def victim(pool):
            results.append(await pool.run(["sleep", "1000"], FOREVER))

        async with aio.Pool(1) as pool:
            async with anyio.create_task_group() as group:
                group.start_soon(victim, pool)
                await there(lambda: programs(b"sleep"))
                (keeper,) = busy_keepers(pool)
                below = keepers_of(keeper.pid)
                os.kill(keeper.pid, signal.SIGKILL)
            assert results[0].verdict is Verdict.JAIL_ERROR and "SIGKILL" in results[0].error
            await there(lambda: not any(map(alive, below)))
            assert (await pool.run(["true"])).ok
            os.kill(keeper_below(idle_keepers(pool)[0].pid), signal.SIGKILL)
            assert (await pool.run(["echo", "x"])).stdout == b"x\n"

    loop(main)


def test_close_of_pyjail_by_another_thread_ends_a_run_that_a_loop_waits_for(loop):
    async def main():
        results = []

        async def victim():
            results.append(await aio.run(["sleep", "1000"], FOREVER))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(victim)
            await there(lambda: len(programs(b"sleep")) == 3)
            await anyio.to_thread.run_sync(pyjail.close)
        assert [r.verdict for r in results] == [Verdict.JAIL_ERROR] * 3

    loop(main)
