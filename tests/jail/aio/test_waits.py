"""aio.start: waits, cancellation, the end of a block; nothing is left, however it ends."""

from __future__ import annotations

import anyio
import pytest

import pyjail
from pyjail import Limits, TimeoutExpired, Verdict, aio
from tests.conftest import SLOW
from tests.host_side import programs
from tests.jail.aio.loops import FOREVER

LIMITS = Limits(cpu_time=10 * SLOW, wall_time=30 * SLOW)


def test_wait_has_a_patience_that_ends_nothing(everywhere):
    async def main():
        async with await aio.start(["sleep", str(0.5 * SLOW)], LIMITS) as p:
            with pytest.raises(TimeoutExpired):
                await p.wait(0.01)
            assert p.poll() is None
            assert await p.wait() == 0

    everywhere(main)


def test_many_tasks_wait_for_one(everywhere):
    async def main():
        codes = []

        async def one():
            codes.append(await p.wait())

        async with await aio.start(["sh", "-c", "read x; exit 5"], LIMITS) as p, anyio.create_task_group() as tasks:
            with anyio.move_on_after(0.05):  # the first who waits leaves; another one takes over
                tasks.start_soon(one)
                await p.wait()
            for _ in range(4):
                tasks.start_soon(one)
            await anyio.sleep(0.05)
            p.stdin.write(b"\n")
        assert codes == [5] * 5

    everywhere(main)


def test_who_watched_is_cancelled_and_another_goes_on(everywhere):
    async def main():
        async with await aio.start(["sh", "-c", "read x"], LIMITS) as p, anyio.create_task_group() as tasks:
            codes = []

            async def first(scope):
                with scope:
                    await p.wait()

            async def second():
                codes.append(await p.wait())

            scope = anyio.CancelScope()
            tasks.start_soon(first, scope)
            await anyio.sleep(0.05)
            tasks.start_soon(second)
            await anyio.sleep(0.05)
            scope.cancel()
            await anyio.sleep(0.05)
            assert p.poll() is None
            p.stdin.write(b"\n")
        assert codes == [0]

    everywhere(main)


def test_cancelling_a_wait_leaves_the_program_running(everywhere):
    async def main():
        async with await aio.start(["cat"], FOREVER) as p:
            for call in (p.wait, p.stdout.readline, p.stdout.read):
                with anyio.move_on_after(0.05) as scope:
                    await call()
                assert scope.cancelled_caught
            p.stdin.write(b"still here\n")
            assert await p.stdout.readline() == b"still here\n"

    everywhere(main)


def test_a_cancelled_block_kills_and_waits(everywhere):
    async def main():
        p = await aio.start(["sleep", "1000"], FOREVER)
        with anyio.move_on_after(0.2) as scope:
            async with p:
                await p.wait()
        assert scope.cancelled_caught
        assert programs(b"sleep") == []
        assert p.result.verdict is Verdict.SIGNALED

    everywhere(main)


def test_an_exit_that_is_cancelled_kills(everywhere):
    async def main():
        p = await aio.start(["sh", "-c", "sleep 1000; yes"], FOREVER)
        with anyio.move_on_after(0.2) as scope:
            async with p:
                pass
        assert scope.cancelled_caught
        assert programs(b"sleep") == []
        assert p.result is not None

    everywhere(main)


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.008])
def test_a_start_that_is_cancelled_leaves_nothing(everywhere, delay):
    async def main():
        with anyio.move_on_after(delay):
            p = await aio.start(["sleep", "1000"], FOREVER, jail=pyjail.Jail(fresh=True))
            with anyio.CancelScope(shield=True):  # it had been started before: it is ours to end
                p.kill()
                await p.wait()
                p.close()
        assert programs(b"sleep") == []

    everywhere(main)


def test_an_exception_in_the_block_kills(everywhere):
    async def main():
        with pytest.raises(KeyError):
            async with await aio.start(["sleep", "1000"], FOREVER) as p:
                raise KeyError
        assert p.result.verdict is Verdict.SIGNALED

    everywhere(main)


def test_leaving_the_block_reads_what_nobody_read(everywhere):
    async def main():
        async with await aio.start(["sh", "-c", "head -c 1000000 /dev/zero; cat; echo x >&2"], LIMITS) as p:
            pass
        assert p.result.verdict is Verdict.OK

    everywhere(main)
