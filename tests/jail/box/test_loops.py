"""`aio.Box` under asyncio, uvloop and trio: no thread for each program, and a cancelled task ends its own alone."""

from __future__ import annotations

import threading
import time

import anyio
import pytest

from pyjail import Box, KeeperError, PoolExhaustedError, TimeoutExpired, Verdict, aio
from tests.conftest import SLOW
from tests.jail.aio.loops import LOOPS
from tests.jail.box.programs import LIMITS, shell


@pytest.fixture(params=LOOPS)
def everywhere(request):
    """Run an async function on each kind of loop; one that hangs fails."""

    def run(function):
        async def guarded():
            with anyio.fail_after(60 * SLOW):
                return await function()

        return anyio.run(guarded, **LOOPS[request.param])

    run(lambda: anyio.sleep(0))
    return run


@pytest.fixture(autouse=True, scope="module")
def loops_were_used():
    """Each kind opens something for good when it is first used; so do the helper threads."""

    async def once():
        async with await aio.start(["true"]):
            pass

    for options in LOOPS.values():
        anyio.run(once, **options)


async def come_to(box, *lines):
    """Whether these are its processes, as soon as each has executed."""
    end = time.monotonic() + 10 * SLOW
    while (found := sorted(p.args for p in await box.processes())) != sorted(lines) and time.monotonic() < end:
        await anyio.sleep(0.01)
    return found == sorted(lines)


def test_all_of_it_is_awaited(everywhere, tmp_path):
    async def main():
        async with aio.Box(limits=LIMITS, disk="16M") as box:
            await box.write("a", "1")
            assert (await box.run(["cat", "a"])).stdout == b"1"
            before = await box.snapshot()
            await box.run(shell("sleep 99 & echo 2 > a"), orphans="keep")
            assert [p.kept for p in await box.processes()] == [True]
            await box.kill()
            await box.restore(before)
            assert await box.read("a") == b"1" and list(await box.list()) == ["a"]
            assert await box.copy_out("a", tmp_path / "a") == {}
            await box.copy_in(tmp_path / "a", "/tmp/b")
            await box.remove("a")
            assert (await box.run(["cat", "/tmp/b"], check=True)).stdout == b"1"
            assert box.limits.memory == LIMITS.memory and box.jail.uid == 1000 and len(box.results) == 3
            assert box.receipt["memory"].status == "enforced" and box.to_dict()["runs"] == 3
            assert "Box" in repr(box) and box.cpu_time > 0 and box.memory_peak
        with pytest.raises(KeeperError, match="closed"):
            await box.run(["true"])

    everywhere(main)


def test_many_at_once_and_no_thread_for_each(everywhere):
    async def main():
        async with aio.Box(limits=LIMITS) as box:
            found = []

            async def one(i):
                found.append((await box.run(shell(f"sleep 0.3; echo {i}"))).stdout)

            async with anyio.create_task_group() as tasks:
                for i in range(16):
                    tasks.start_soon(one, i)
                await anyio.sleep(0.15)
                threads = threading.active_count()
            assert sorted(found) == sorted(b"%d\n" % i for i in range(16))
            assert threads <= 12

    everywhere(main)


def test_a_cancelled_task_ends_its_program_alone(everywhere):
    async def main():
        async with aio.Box(limits=LIMITS) as box:
            async with await box.start(["cat"]) as other:
                for delay in (0.0, 0.005, 0.02, 0.3):
                    with anyio.move_on_after(delay) as scope:
                        await box.run(shell("sleep 99 & sleep 99"))
                    assert scope.cancelled_caught
                    assert await come_to(box, ("cat",))
                    assert (await box.run(["echo", "x"])).stdout == b"x\n"
                assert await other.communicate(b"y") == (b"y", b"")

    everywhere(main)


def test_a_cancelled_task_leaves_what_others_have_kept(everywhere):
    async def main():
        async with aio.Box(limits=LIMITS) as box:
            await box.run(shell("sleep 1001 &"), orphans="keep")
            assert await come_to(box, ("sleep", "1001"))
            for delay in (0.0, 0.01, 0.2):
                with anyio.move_on_after(delay):
                    await box.run(shell("sleep 99 & sleep 98"), orphans="keep")
                assert [p.args for p in await box.processes()] == [("sleep", "1001")]

    everywhere(main)


def test_one_box_may_have_both_doors(everywhere):
    with Box(limits=LIMITS) as sync:

        async def main():
            box = aio.Box.of(sync)
            await box.write("a", "x")
            assert (await box.run(["cat", "a"])).stdout == sync.read("a")
            await box.close()

        everywhere(main)
        with pytest.raises(KeeperError, match="closed"):
            sync.run(["true"])


def test_one_that_waits_for_its_turn_may_be_cancelled(everywhere):
    async def main():
        async with aio.Box(limits=LIMITS, concurrency=1) as box:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(box.run, shell("sleep 0.6"))
                await anyio.sleep(0.2)
                with anyio.move_on_after(0.1) as scope:
                    await box.run(shell("touch never"))
                assert scope.cancelled_caught
                with pytest.raises(PoolExhaustedError):
                    await box.run(["true"], timeout=0.05)
                assert (await box.run(["true"])).verdict is Verdict.OK
            assert list(await box.list()) == []

    everywhere(main)


def test_timeouts_and_files_and_terminals(everywhere):
    async def main():
        async with aio.Box(limits=LIMITS) as box:
            with pytest.raises(TimeoutExpired) as e:
                await box.run(shell("echo so far; sleep 99"), timeout=0.5 * SLOW)
            assert e.value.stdout == b"so far\n"
            r = await box.run(shell("cat in > out"), files={"in": "x"}, collect=["out"])
            assert r.files == {"out": b"x"}
            async with await box.start(shell("stty size; exit 3"), pty=(30, 100)) as p:
                await p.wait()
            assert p.result.exit_code == 3

    everywhere(main)


def test_a_loop_that_is_closed_takes_its_programs_and_no_other(everywhere):
    box = aio.Box(limits=LIMITS)
    sync = Box(limits=LIMITS)

    async def main():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(box.run, ["sleep", "99"])
            await anyio.sleep(0.3)
            tasks.cancel_scope.cancel()

    everywhere(main)

    async def after():
        end = time.monotonic() + 5 * SLOW
        while await box.processes() and time.monotonic() < end:
            await anyio.sleep(0.05)
        assert list(await box.processes()) == []
        assert (await box.run(["true"])).verdict is Verdict.OK
        await box.close()

    everywhere(after)
    sync.close()


def test_a_box_that_is_closed_while_others_wait_says_so(everywhere):
    async def main():
        box = aio.Box(limits=LIMITS, concurrency=1)
        said = []

        async def one():
            try:
                said.append((await box.run(["sleep", "99"])).verdict)
            except KeeperError as e:
                said.append(str(e))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            await anyio.sleep(0.3)
            tasks.start_soon(one)
            await anyio.sleep(0.1)
            await box.close()
        assert len(said) == 2 and any("closed" in s for s in said), said

    everywhere(main)


def test_what_one_uses_is_told_while_it_runs_and_nothing_of_another(everywhere):
    async def main():
        async with aio.Box() as box:
            busy, idle = ["sh", "-c", "sleep 1000 & while :; do :; done"], ["sleep", "1000"]
            async with await box.start(busy) as p, await box.start(idle) as q:
                with anyio.fail_after(60 * SLOW):
                    while not (((seen := p.used()).cpu_time or 0) > 0.05 and seen.processes == 2):
                        await anyio.sleep(0.01)
                    while (other := q.used()).processes is None:
                        await anyio.sleep(0.01)
                assert other.processes == 1 and (other.cpu_time or 0) < 0.05 and (seen.memory or 4097) > 4096
                p.kill()
                q.kill()
            assert p.used().to_dict() == {"cpu_time": None, "memory": None, "processes": None}

    everywhere(main)
