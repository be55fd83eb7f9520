"""`pyjail.aio.Interpreter`: the same under asyncio and trio, with callbacks in the loop and cells that are cancelled."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import trio

import pyjail
from pyjail import Verdict
from tests.conftest import SLOW

RUNNERS = pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])


def under(run, main):
    return run(main()) if run is asyncio.run else run(main)


@RUNNERS
def test_cells_results_and_callbacks_in_the_loop(run, nothing_left):
    told = []

    async def later(text):
        await (asyncio.sleep(0) if run is asyncio.run else trio.sleep(0))
        told.append((text, threading.current_thread()))

    async def main():
        async with pyjail.aio.Interpreter() as python:
            await python.start()
            await python.run("x = 1")
            r = await python.run(
                "print('a')\ndisplay(5)\nx", on_stdout=later, on_result=lambda d: told.append((d.text, None))
            )
            assert r.text == "1" and len(told) == 3
            assert told[0] == ("a\n", threading.current_thread()) and [t for t, _ in told[1:]] == ["5", "1"]
            assert python.history == ("x = 1", "print('a')\ndisplay(5)\nx")
            await python.restart()
            assert (await python.run("x")).error.name == "NameError"
            assert await python.replay() == []

    under(run, main)


@RUNNERS
def test_a_cancelled_cell_is_interrupted_and_state_stays(run):
    async def main():
        async with pyjail.aio.Interpreter() as python:
            await python.run("x = 1")
            begun = time.monotonic()
            if run is asyncio.run:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(python.run("import time; time.sleep(60)", on_stdout=print), 0.3 * SLOW)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(python.run("time.sleep(60)"), 0.3 * SLOW)
            else:
                with trio.move_on_after(0.3 * SLOW) as scope:
                    await python.run("import time; time.sleep(60)", on_stdout=print)
                assert scope.cancelled_caught
                with trio.move_on_after(0.3 * SLOW):
                    await python.run("time.sleep(60)")
            assert time.monotonic() - begun < 20 * SLOW
            r = await python.run("x")
            assert (r.text, r.restarted) == ("1", False)

    under(run, main)


@RUNNERS
def test_a_first_cell_that_is_cancelled_loses_nothing_but_itself(run):
    async def main():
        async with pyjail.aio.Interpreter() as python:
            if run is asyncio.run:
                task = asyncio.create_task(python.run("import time; time.sleep(60)"))
                await asyncio.sleep(0.3 * SLOW)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                with trio.move_on_after(0.3 * SLOW):
                    await python.run("import time; time.sleep(60)")
            assert (await python.run("1")).text == "1"

    under(run, main)


@RUNNERS
def test_what_a_callback_raises_is_raised_when_its_cell_has_ended(run):
    def stop(text):
        raise LookupError(text)

    async def main():
        async with pyjail.aio.Interpreter() as python:
            with pytest.raises(LookupError):
                await python.run("print('a')\nimport time\ntime.sleep(60)", on_stdout=stop)
            assert (await python.run("2")).text == "2"
            r = await python.run("import time; time.sleep(60)", timeout=0.2 * SLOW)
            assert (r.verdict, r.interrupted) == (Verdict.WALL_TIME, True)

    under(run, main)


def test_it_works_in_a_box_of_the_callers_and_has_contexts():
    async def main():
        async with pyjail.aio.Box() as box:
            await box.write("a", "hello")
            async with pyjail.aio.Interpreter(box=box) as python:
                other = await python.create_context()
                assert (await other.run("x = open('a').read(); x")).text == "'hello'"
                assert (await python.run("x")).error.name == "NameError"
                assert (await python.run("x", context=other)).text == "'hello'" and len(python.contexts) == 2
                assert await python.box.read("a") == b"hello" and (other.id, other.history[-1]) == (1, "x")
                await other.remove()
                assert python.contexts[0].id == 0 and len(python.contexts) == 1
            assert (await box.run(["cat", "a"])).stdout == b"hello"

    asyncio.run(main())


def test_fifty_interpreters_at_once(nothing_left):
    async def one(i):
        async with pyjail.aio.Interpreter() as python:
            await python.run(f"x = {i}")
            await asyncio.sleep(0.2)
            return int((await python.run("x")).text)

    number = 50 if SLOW == 1 else 8  # each is a Python, and starts slowly in an emulated guest

    async def main():
        return await asyncio.gather(*map(one, range(number)))

    assert asyncio.run(main()) == [*range(number)]
