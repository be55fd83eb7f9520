"""What waits for several runs, awaitable: the same results, and a cancellation that ends every jail of it."""

from __future__ import annotations

import os

import anyio
import pytest

import pyjail
from pyjail import Limits, Party, aio, testing
from pyjail.grading import Case
from tests.conftest import SLOW
from tests.host_side import keepers_of, programs
from tests.inside import aio_gate
from tests.jail.aio.loops import FOREVER, there
from tests.scripts import until

PROBLEM = {"task_id": 1, "prompt": "", "entry_point": "f", "test": "assert f(2) == 4\n"}
HANG = "import subprocess\ndef f(x): subprocess.run(['sleep', '1000'])\n"
SLEEP = ["sh", "-c", "exec sleep 1000"]


def shell(source):
    return pyjail.languages.Language("shell", run=("sh", "{source}"), source="a", tools={"sh": "-c"}), source


COMPILER = pyjail.languages.Language(
    "sleeper", run=("sh", "{source}"), source="a", tools={"sh": "-c"}, compile=("sh", "{source}"), artefacts=("b",)
)


def test_each_gives_what_its_twin_gives(loop):
    async def main():
        assert (await aio.prepare(COMPILER, "echo made > b; exit 3")).compile.exit_code == 3
        judged = await aio.judge_source("python", "print(int(input()) ** 2)", [("3", "9"), ("4", "5")], workers=2)
        assert [row.verdict for row in judged.results] == ["ok", "wrong_answer"]
        m = await aio.measure(["true"], repeat=pyjail.Repeat(times=2, quiet=False))
        assert (len(m.runs), m.verdict) == (2, "ok")
        told = await aio.interact(Party(["sh", "-c", "echo hi; read x"]), Party(["sh", "-c", "read x; echo $x"]))
        assert told.fault is None
        assert (await aio.check_correctness(PROBLEM, "def f(x): return 2 * x\n", 10 * SLOW)).passed
        assert (await aio.check_function("def f(x): return x", "f", [Case((1,), 1)], 10 * SLOW)).passed
        tests = {"test_s.py": "from s import f\ndef test(): assert f(1) == 1\n"}
        assert (await aio.run_tests({"s.py": "def f(x): return x"}, tests, ["s"], 10 * SLOW)).passed
        with pytest.raises(pyjail.SpecError, match="no_such"):
            await aio.judge_source("no_such", "", [("", "")])

    loop(main)


CALLS = {
    "judge": lambda: aio.judge_source(*shell("exec sleep 1000"), [("", None)] * 5, FOREVER),
    "judge at once": lambda: aio.judge_source(*shell("exec sleep 1000"), [("", None)] * 5, FOREVER, workers=2),
    "prepare": lambda: aio.prepare(COMPILER, "exec sleep 1000"),
    "measure": lambda: aio.measure(SLEEP, FOREVER),
    "interact": lambda: aio.interact(Party(SLEEP, FOREVER), Party(SLEEP, FOREVER)),
    "check": lambda: aio.check_correctness(PROBLEM, HANG, 60 * SLOW),
    "cases": lambda: aio.check_function(HANG, "f", [Case((1,), 1)] * 3, 60 * SLOW),
}


@pytest.mark.parametrize("name", CALLS)
def test_cancelling_ends_every_jail_and_is_raised_when_they_are_gone(loop, name):
    after = []

    async def victim():
        try:
            await CALLS[name]()
        finally:
            after.append(programs(b"sleep"))

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(victim)
            await there(lambda: programs(b"sleep"))
            group.cancel_scope.cancel()
        assert after == [[]]
        assert (await aio.run(["echo", "x"])).stdout == b"x\n"

    loop(main)
    assert until(lambda: not testing.busy())


def test_cancelling_at_any_time_leaves_nothing(loop):
    async def main():
        for i in range(25):
            with anyio.move_on_after(0.003 * i):
                await aio.judge_source("python", "print(input())", [("1", "1")] * 3)
            with anyio.move_on_after(0.004 * i):
                await aio.check_correctness(PROBLEM, "def f(x): return 2 * x\n", 10 * SLOW)

    loop(main)
    assert until(lambda: not testing.busy() and programs(b"python") == [])


def test_no_more_run_at_once_than_may(loop):
    async def main():
        aio.set_concurrency(2)
        try:
            async with anyio.create_task_group() as group:
                for _ in range(6):
                    group.start_soon(aio.measure, ["true"], Limits())
                await there(lambda: aio_gate().inside)
                assert len(aio_gate().inside) <= 2
        finally:
            aio.set_concurrency(max(aio.AT_LEAST, aio.PER_CPU * len(os.sched_getaffinity(0))))

    loop(main)


def test_a_session(loop):
    async def main():
        async with aio.Session(disk="1M") as s:
            await s.write("a", "x")
            r = await s.run(["sh", "-c", "cat a a > b; cat b"])
            assert (r.stdout, await s.read("b"), await s.list()) == (b"xx", b"xx", ["a", "b"])
            kept = await s.snapshot()
            await s.remove("a")
            await s.restore(kept)
            steps = await s.steps([{"command": "cat a"}])
            assert (steps[0]["stdout"], await s.list("a"), len(s.results)) == ("x", ["a"], 2)
            with pytest.raises(FileNotFoundError):
                await s.read("none")
        with pytest.raises(pyjail.KeeperError):
            await s.run(["true"])

    loop(main)


def test_cancelling_a_run_ends_it_and_its_session(loop):
    async def main():
        async with aio.Session() as s:
            await s.write("a", "x")
            async with anyio.create_task_group() as group:
                group.start_soon(s.run, SLEEP, FOREVER)
                await there(lambda: programs(b"sleep"))
                group.cancel_scope.cancel()
            assert programs(b"sleep") == []
            with pytest.raises(pyjail.KeeperError, match="a program was interrupted"):
                await s.run(["true"])

    loop(main)


def test_cancelling_what_is_quick_leaves_the_session_as_it_is(loop):
    async def main():
        async with aio.Session() as s:
            for i in range(20):
                with anyio.move_on_after(0.0005 * i):
                    await s.write("a", str(i) * 100_000)
            await s.write("a", "last")
            assert await s.read("a") == b"last"

    loop(main)


def test_a_loop_that_is_closed_takes_the_jails_with_it(others):
    import asyncio

    async def main():
        task = asyncio.ensure_future(aio.measure(SLEEP, FOREVER))
        await there(lambda: programs(b"sleep"))
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(main())
    loop.close()
    task._log_destroy_pending = False
    assert until(lambda: programs(b"sleep") == [] and frozenset(keepers_of(os.getpid())) == others)


def test_what_is_had_is_told():
    assert {"judge_source", "Session", "interact", "measure", "check_correctness"} <= set(dir(aio))
    assert aio.judge_source.__name__ == "judge_source" and "language" in str(
        __import__("inspect").signature(aio.judge_source)
    )
    with pytest.raises(AttributeError, match="nothing"):
        _ = aio.nothing
