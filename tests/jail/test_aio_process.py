"""pyjail.aio.start on asyncio, uvloop and trio: streams, waits, cancellation; nothing is left, however it ends."""

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
from pyjail import DEVNULL, STDOUT, Limits, SpecError, TimeoutExpired, Verdict, aio
from tests.conftest import SLOW
from tests.host_side import keepers_of, left_over, programs
from tests.jail.test_aio import LOOPS
from tests.scripts import script, until

LIMITS = Limits(cpu_time=10 * SLOW, wall_time=30 * SLOW)
FOREVER = Limits(wall_time=None)
HANG = 60 * SLOW


@pytest.fixture(autouse=True, scope="module")
def loops_were_used():
    """Each kind opens something for good when it is first used; so do the helper threads."""

    async def once():
        async with await aio.start(["true"]):
            pass

    for options in LOOPS.values():
        anyio.run(once, **options)
    asyncio.run(once())


@pytest.fixture(autouse=True)
def nothing_is_left():
    pyjail.run(["true"])
    gc.collect()
    pyjail.close()
    before = left_over()
    others = set(keepers_of(os.getpid()))
    yield
    gc.collect()
    assert not aio._source.gate.inside
    pyjail.close()
    assert until(lambda: not set(keepers_of(os.getpid())) - others)
    assert until(lambda: left_over() == before), (before, left_over())


@pytest.fixture(params=LOOPS)
def everywhere(request):
    """Run an async function on each kind of loop; one that hangs fails."""

    def run(function):
        async def guarded():
            with anyio.fail_after(HANG):
                return await function()

        return anyio.run(guarded, **LOOPS[request.param])

    return run


def test_a_conversation(everywhere):
    async def main():
        async with await aio.start(["cat"], LIMITS) as p:
            for line in (b"one\n", b"two\n"):
                p.stdin.write(line)
                await p.stdin.drain()
                assert await p.stdout.readline() == line
            assert p.poll() is None and p.result is None and p.returncode is None
            p.stdin.close()
            assert await p.wait() == 0
            assert await p.stdout.read() == b"" and p.stdout.at_eof()
        assert (p.returncode, p.poll(), await p.wait(0)) == (0, 0, 0)
        assert p.result.verdict is Verdict.OK

    everywhere(main)


def test_text(everywhere):
    async def main():
        async with await aio.start(["printf", r"a\r\n\303\244\nend"], LIMITS, text=True) as p:
            assert await p.stdout.readline() == "a\n"
            assert [line async for line in p.stdout] == ["ä\n", "end"]
        async with await aio.start(["cat"], LIMITS, text=True) as p:
            with pytest.raises(SpecError):
                p.stdin.write(b"bytes")
            p.stdin.write("ö")
            await p.stdin.close()
            assert await p.stdout.read() == "ö"

    everywhere(main)


def test_ways_to_read(everywhere):
    async def main():
        async with await aio.start(["sh", "-c", "printf 123456; sleep 0.2; printf 789; echo; printf x"], LIMITS) as p:
            assert await p.stdout.read(2) == b"12"
            assert await p.stdout.read(0) == b""
            assert await p.stdout.readexactly(6) == b"345678"
            assert await p.stdout.readline() == b"9\n"
            with pytest.raises(EOFError) as e:
                await p.stdout.readexactly(5)
            assert e.value.partial == b"x"
            assert [await p.stdout.readline(), await p.stdout.read(), await p.stdout.read(5)] == [b"", b"", b""]

    everywhere(main)


def test_a_line_without_end_does_not_fill_our_memory(everywhere):
    async def main():
        async with await aio.start(["sh", "-c", "exec tr '\\0' x </dev/zero"], LIMITS) as p:
            p.stdout.limit = 100_000
            with pytest.raises(ValueError, match="100000"):
                await p.stdout.readline()
            p.kill()

    everywhere(main)


def test_more_than_a_pipe_holds_goes_both_ways(everywhere):
    data = bytes(range(256)) * 8000

    async def main():
        async with await aio.start(["cat"], LIMITS) as p:
            p.stdin.write(data)  # the pipe takes a part of it
            closing = p.stdin.close()  # the rest goes on its own while we read
            assert p.stdin.closed
            with pytest.raises(ValueError):
                p.stdin.write(b"x")
            assert await p.stdout.read() == data
            await closing
        async with await aio.start(["cat"], LIMITS) as p:
            assert await p.communicate(data) == (data, b"")
        assert p.result.ok

    everywhere(main)


def test_a_reader_that_is_gone_is_told_by_drain(everywhere):
    async def main():
        async with await aio.start(["sh", "-c", "exec <&-; echo x; sleep 100"], FOREVER) as p:
            await p.stdout.readline()
            p.stdin.write(b"x" * 1_000_000)
            with pytest.raises(BrokenPipeError):
                await p.stdin.drain()
            p.kill()
            assert await p.wait() == -signal.SIGKILL

    everywhere(main)


def test_communicate(everywhere):
    async def main():
        async with await aio.start(["sh", "-c", "cat; echo error >&2; exit 3"], LIMITS, text=True) as p:
            assert await p.communicate("ä") == ("ä", "error\n")
        assert p.returncode == 3
        async with await aio.start(["sh", "-c", "echo a; sleep 100"], FOREVER, stderr=STDOUT) as p:
            with pytest.raises(TimeoutExpired) as e:
                await p.communicate(timeout=1)
            assert (e.value.stdout, e.value.stderr) == (b"a\n", None)
            assert await p.stdout.readline() == b"a\n"  # still to be read
            p.kill()
        async with await aio.start(["cat"], LIMITS, stdin=DEVNULL) as p:
            with pytest.raises(SpecError):
                await p.communicate(b"x")

    everywhere(main)


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
        with anyio.move_on_after(0.2) as scope:
            async with await aio.start(["sleep", "1000"], FOREVER) as p:
                await p.wait()
        assert scope.cancelled_caught
        assert programs(b"sleep") == []
        assert p.result.verdict is Verdict.SIGNALED

    everywhere(main)


def test_an_exit_that_is_cancelled_kills(everywhere):
    async def main():
        with anyio.move_on_after(0.2) as scope:
            async with await aio.start(["sh", "-c", "sleep 1000; yes"], FOREVER) as p:
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

    everywhere(main)


def test_a_keeper_that_was_killed_is_a_jail_error(everywhere):
    async def main():
        async with await aio.start(["sleep", "1000"], FOREVER) as p:
            while not programs(b"sleep"):
                await anyio.sleep(0.01)
            os.kill(p._process._keeper.pid, signal.SIGKILL)
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
