"""aio.run: results, queue."""

from __future__ import annotations

import os
import threading

import anyio
import pytest

import pyjail
from pyjail import Jail, Limits, Verdict, aio
from tests.conftest import QUICK, SLOW
from tests.host_side import programs
from tests.inside import aio_gate
from tests.jail.aio.loops import LOOPS, there


def test_results_are_those_of_run(loop):
    async def main():
        r = await aio.run(
            ["sh", "-c", "cat; cat a > b; exit 3"], QUICK, input="x", text=True, files={"a": "y"}, collect=["b"]
        )
        assert (r.stdout, r.files, r.exit_code, r.verdict) == ("x", {"b": b"y"}, 3, Verdict.RUNTIME_ERROR)
        assert (await aio.run(["hostname"], jail=Jail(hostname="judge", fresh=True))).stdout == b"judge\n"
        big = os.urandom(1 << 20) * 8
        assert (await aio.run(["cat"], Limits(output="16M"), input=big)).stdout == big
        with pytest.raises(FileNotFoundError):
            await aio.run(["nope"])
        with pytest.raises(pyjail.JailedProcessError):
            await aio.run(["false"], check=True)
        with pytest.raises(pyjail.SpecError):
            await aio.run("true")
        with pytest.raises(pyjail.SetupError):
            await aio.run(["true"], Limits(disk="64K"), files={"a": b"x" * 200_000})
        with pytest.raises(pyjail.TimeoutExpired) as e:
            await aio.run(["sh", "-c", "echo x; sleep 1000"], timeout=1.0 * SLOW)
        assert e.value.output == b"x\n"
        assert (await aio.run(["sleep", "9"], Limits(wall_time=0.05))).verdict is Verdict.WALL_TIME

    loop(main)


@pytest.mark.parametrize(
    "loop",
    ["asyncio", *(pytest.param(name, marks=pytest.mark.slow) for name in LOOPS if name != "asyncio")],
    indirect=True,
)
def test_1000_awaits_at_once_without_a_thread_for_each(loop):
    seen, threads = [], set()

    async def one(i: int) -> None:
        r = await aio.run(["sh", "-c", f"cat; exit {i % 200}"], input=b"%d" % i)
        assert (r.exit_code, r.stdout) == (i % 200, b"%d" % i)
        seen.append(i)
        threads.add(threading.active_count())

    async def main():
        async with anyio.create_task_group() as group:
            for i in range(int(1000 / SLOW)):
                group.start_soon(one, i)

    before = threading.active_count()
    loop(main)
    assert len(seen) == int(1000 / SLOW)
    assert max(threads) <= before + 5  # four helpers, and upkeep


def test_the_loop_goes_on_while_jails_run(loop):
    """Were the loop blocked by the run, the run, which waits for the loop, would never end."""
    reader, writer = os.pipe()

    async def release():
        await there(lambda: programs(b"cat"))
        os.close(writer)

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(release)
            assert (await aio.run(["cat"], stdin=reader)).ok

    loop(main)
    os.close(reader)


def test_first_come_first_served(loop):
    order = []
    reader, writer = os.pipe()

    async def main():
        async with aio.Pool(1) as pool, anyio.create_task_group() as group:

            async def late(i: int):
                await pool.run(["true"])
                order.append(i)

            group.start_soon(lambda: pool.run(["cat"], stdin=reader))
            await there(lambda: pool.running == 1)
            for i in range(40):
                group.start_soon(late, i)
                await there(lambda i=i: pool.waiting == i + 1)
            os.close(writer)

    loop(main)
    os.close(reader)
    assert order == list(range(40))


def test_how_many_run_at_once_can_be_changed(loop):
    async def main():
        reader, writer = os.pipe()
        before = aio_gate().size
        aio.set_concurrency(2)
        try:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(lambda: aio.run(["cat"], stdin=reader))
                await there(lambda: len(programs(b"cat")) == 2)
                with pytest.raises(pyjail.PoolExhaustedError, match="set_concurrency"):
                    await aio.run(["true"], timeout=0.05)
                aio.set_concurrency(4)
                await there(lambda: len(programs(b"cat")) == 4)
                os.close(writer)
        finally:
            aio.set_concurrency(before)
            os.close(reader)

    loop(main)
    for n in (0, True, "2", 5000):
        with pytest.raises(pyjail.SpecError):
            aio.set_concurrency(n)
