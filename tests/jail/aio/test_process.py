"""aio.start: signals, terminals, files, faults."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import warnings

import anyio
import pytest

import pyjail
from pyjail import DEVNULL, STDOUT, Limits, SpecError, Verdict, aio, testing
from tests import place
from tests.conftest import SLOW
from tests.host_side import programs
from tests.inside import turn_of
from tests.jail.aio.loops import FOREVER
from tests.scripts import script, until

LIMITS = Limits(cpu_time=10 * SLOW, wall_time=30 * SLOW)


def test_signals(everywhere):
    async def main():
        code = "trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
        async with await aio.start(["sh", "-c", code], LIMITS) as p:
            assert await p.stdout.readline() == b"ready\n"
            p.send_signal(signal.SIGUSR1)
            assert await p.stdout.readline() == b"usr1\n"
            with pytest.raises(SpecError):
                p.send_signal(0)
            p.terminate()
            assert await p.wait() == 3

    everywhere(main)


def test_a_terminal(everywhere):
    async def main():
        async with await aio.start(["sh"], LIMITS, pty=(30, 100)) as p:
            assert p.stderr is None
            p.stdin.write(b"stty size\n")
            await seen(p, b"30 100")
            p.resize(40, 90)
            p.stdin.write(b"stty size; exit 7\n")
            await seen(p, b"40 90")
            assert await p.wait() == 7
        async with await aio.start(["true"], LIMITS) as p:
            with pytest.raises(SpecError):
                p.resize(1, 1)

    async def seen(p, mark):
        found = b""
        while mark not in found:
            found += await p.stdout.read(4096)

    everywhere(main)


def test_files_and_collect(everywhere):
    async def main():
        async with await aio.start(["sh", "-c", "cat a > b"], LIMITS, files={"a": "x"}, collect=["b"]) as p:
            await p.wait()
        assert p.result.files == {"b": b"x"}

    everywhere(main)


def test_streams_of_ones_own(everywhere):
    read, write = os.pipe()

    async def main():
        async with await aio.start(["sh", "-c", "echo out; echo err >&2"], LIMITS, stdout=write, stderr=STDOUT) as p:
            assert (p.stdout, p.stderr) == (None, None)
            assert await p.communicate() == (None, None)

    everywhere(main)
    os.close(write)
    with open(read, "rb") as f:
        assert f.read() == b"out\nerr\n"


def test_what_cannot_be_executed_is_told_by_wait(everywhere):
    async def main():
        p = await aio.start(["/no/such/program"], LIMITS)
        with pytest.raises(FileNotFoundError):
            await p.wait()
        with pytest.raises(pyjail.ExecError):
            p.poll()
        p.close()
        with pytest.raises(SpecError):
            await aio.start([], LIMITS)
        with pytest.raises(SpecError):
            await aio.start(["true"], pty=True, stdout=DEVNULL)
        with pytest.raises(pyjail.ExecError):
            async with await aio.start(["/no/such/program"], LIMITS) as p:
                await p.wait()
        with pytest.raises(FileNotFoundError):  # nobody has waited
            async with await aio.start(["/no/such/program"], LIMITS) as p:
                assert await p.stdout.read() == b""
        async with await aio.start(["/no/such/program"], LIMITS) as p:
            with pytest.raises(FileNotFoundError):
                await p.wait()  # told once

    everywhere(main)


def test_a_keeper_that_was_killed_is_a_jail_error(everywhere):
    async def main():
        async with await aio.start(["sleep", "1000"], FOREVER) as p:
            while not programs(b"sleep"):
                await anyio.sleep(0.01)
            os.kill(turn_of(p).keeper.pid, signal.SIGKILL)
            await p.wait()
        assert p.result.verdict is Verdict.JAIL_ERROR

    everywhere(main)


def test_two_tasks_cannot_read_one_stream(everywhere):
    async def main():
        async with await aio.start(["cat"], LIMITS) as p, anyio.create_task_group() as tasks:
            tasks.start_soon(p.stdout.readline)
            await anyio.sleep(0.05)
            with pytest.raises(RuntimeError):
                await p.stdout.readline()
            p.stdout.close()  # who reads sees the end

    everywhere(main)


def test_fifty_at_once_need_no_thread_each(everywhere):
    async def main():
        async def one(i):
            async with await aio.start(["cat"], LIMITS) as p:
                together.append(i)
                while len(together) < 50:  # all run at the same time
                    await anyio.sleep(0.01)
                p.stdin.write(b"%d\n" % i)
                assert await p.stdout.readline() == b"%d\n" % i

        together = []
        before = threading.active_count()
        async with anyio.create_task_group() as tasks:
            for i in range(50):
                tasks.start_soon(one, i)
            while len(together) < 50:
                await anyio.sleep(0.01)
                assert threading.active_count() <= before

    everywhere(main)


@pytest.mark.parametrize("inside", [True, False])
def test_a_loop_that_is_closed_takes_its_jails_with_it(inside):
    async def hold():
        if inside:
            async with await aio.start(["sleep", "1000"], FOREVER) as p:
                await p.stdout.read()
        else:
            p = await aio.start(["sleep", "1000"], FOREVER)
            await p.wait()

    loop = asyncio.new_event_loop()
    task = loop.create_task(hold())

    async def there():
        while not programs(b"sleep"):
            await asyncio.sleep(0.01)

    loop.run_until_complete(there())
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        task._log_destroy_pending = False
        del task
        gc.collect()
        assert until(lambda: programs(b"sleep") == [])


def test_a_loop_that_is_closed_during_a_start_takes_the_jail_with_it_though_somebody_holds_the_task():
    with testing.nothing_left():  # each new keeper takes its time
        loop = asyncio.new_event_loop()
        task = loop.create_task(aio.start(["sleep", "1000"], FOREVER))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        assert not task.done()
    assert programs(b"sleep") == []
    task._log_destroy_pending = False


def test_an_interrupt_leaves_nothing():
    code = """
    import asyncio, os, pyjail, signal, threading, time
    from tests.host_side import programs
    signal.signal(signal.SIGINT, signal.default_int_handler)
    def interrupt():
        while not programs(b"sleep"): time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    async def main():
        async with await pyjail.aio.start(["sleep", "1000"], pyjail.Limits(wall_time=None)) as p: await p.wait()
    try: asyncio.run(main())
    except KeyboardInterrupt: print("interrupted", programs(b"sleep"))
    """
    out = script(code)
    assert out.stdout == "interrupted []\n", out.stderr


def test_out_of_fds_is_a_clear_error_and_nothing_is_left():
    code = """
    import asyncio, os, pyjail, resource
    from tests.host_side import keepers_of
    few = pyjail.Limits(open_files=32)
    resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
    async def main():
        async with await pyjail.aio.start(["true"], few): pass
        pyjail.close()
        for spare in range(14):
            held = []
            try:
                while True: held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError: pass
            for fd in held[:spare]: os.close(fd)
            try:
                async with await pyjail.aio.start(["true"], few) as p: pass
                assert p.result.ok
            except OSError as e: assert e.errno == 24, e
            for fd in held[spare:]: os.close(fd)
            pyjail.close()
            assert not keepers_of(os.getpid())
    asyncio.run(main())
    left = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if int(n) > 2 and os.path.exists(f"/proc/self/fd/{n}")]
    print("done", [f for f in left if f.startswith(("pipe:", "socket:"))])
    """
    out = script(code)
    assert out.stdout == "done []\n", out.stderr


@pytest.mark.skipif(not place.CGROUPS, reason=place.WITHOUT_CGROUPS)
def test_what_it_uses_is_told_while_it_runs(everywhere):
    loop = everywhere

    async def main():
        for _ in range(2):  # the second in a leaf that has served before
            busy = "sleep 1000 & n=0; while :; do n=$((n+1)); done"
            async with await aio.start(["sh", "-c", busy], Limits(memory="64M", wall_time=60)) as p:
                first = p.used()
                assert (first.cpu_time or 0) < 0.1
                with anyio.fail_after(60):
                    while not (((seen := p.used()).cpu_time or 0) > 0.05 and seen.processes == 2):
                        await anyio.sleep(0.01)
                assert 4096 <= seen.memory <= 64 << 20
                p.kill()
            assert p.used().to_dict() == {"cpu_time": None, "memory": None, "processes": None}
            assert seen.cpu_time <= p.result.usage.cpu_time

    loop(main)
