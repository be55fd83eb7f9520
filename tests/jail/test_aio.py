"""pyjail.aio on asyncio, uvloop, trio and anyio: results, queue, cancellation, dead loops."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import warnings

import anyio
import pytest
import trio
import uvloop

import pyjail
from pyjail import Jail, Limits, Verdict, aio
from tests.conftest import QUICK, SLOW
from tests.host_side import alive, cgroups_of, keeper_below, keepers_of, left_over, programs
from tests.scripts import script, until

FOREVER = Limits(wall_time=None)
LOOPS = {
    "asyncio": {"backend": "asyncio", "backend_options": {"debug": True}},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


@pytest.fixture(autouse=True, scope="module")
def loops_were_used():
    """Each kind opens something for good when it is first used."""
    for options in LOOPS.values():
        anyio.run(anyio.sleep, 0, **options)
    asyncio.run(asyncio.sleep(0))


@pytest.fixture(autouse=True)
def others():
    """Nothing is left of a test. The processes below us that are none of its own, such as multiprocessing's."""
    pyjail.run(["true"])  # one fd, of the keeper's program, is kept for good
    pyjail.close()
    before = left_over()
    yield frozenset(keepers_of(os.getpid()))
    gc.collect()
    assert aio._source.gate.inside == set() and not aio._source.gate.queue
    assert until(lambda: pyjail._run.idle.leased == set())  # one with fresh=True is ended in a thread
    pyjail.close()
    assert until(lambda: left_over() == before), (before, left_over())


@pytest.fixture(params=LOOPS)
def loop(request):
    """Run an async function under this loop; its result."""

    def run(main, *args):
        return anyio.run(main, *args, **LOOPS[request.param])

    run.name = request.param
    return run


async def there(condition) -> None:
    """Wait until it is so."""
    with anyio.fail_after(20 * SLOW):
        while not condition():
            await anyio.sleep(0.01)


# ---- results ----


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
        before = aio._source.gate.size
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


# ---- cancellation ----


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
                (keeper,) = pool._warm.keepers.leased
                below = keepers_of(keeper.pid)
                os.kill(keeper.pid, signal.SIGKILL)
            assert results[0].verdict is Verdict.JAIL_ERROR and "SIGKILL" in results[0].error
            await there(lambda: not any(map(alive, below)))
            assert (await pool.run(["true"])).ok
            os.kill(keeper_below(pool._warm.keepers.keepers[0].pid), signal.SIGKILL)
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


# ---- pools ----


def test_a_pool_is_warm_when_it_is_entered_and_gone_when_it_is_left(loop, others):
    async def main():
        async with aio.Pool(2, Jail(hostname="judge"), limits=Limits(open_files=77)) as pool:
            assert (pool.size, pool.idle, pool.running) == (2, 2, 0)
            warm = {k.pid for k in pool._warm.keepers.keepers}
            assert (await pool.run(["sh", "-c", "hostname; ulimit -n"])).stdout == b"judge\n77\n"
            assert {k.pid for k in pool._warm.keepers.keepers} == warm
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


# ---- loops that end early, forks, exits, exhaustion ----


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("new", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("options", [{}, {"files": {"a": b"x"}, "jail": Jail(fresh=True)}])
def test_a_loop_that_is_closed_takes_its_jails_with_it(new, held, options):
    """Whether or not somebody still holds the tasks."""
    loop = new()
    count = 12  # more than run at once on a small machine
    tasks = [loop.create_task(aio.run(["sleep", "1000"], FOREVER, **options)) for _ in range(count)]
    at_once = min(count, aio._source.gate.size)
    loop.run_until_complete(there(lambda: len(programs(b"sleep")) == at_once))
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not held:
            for task in tasks:
                task._log_destroy_pending = False
            del tasks, task
            gc.collect()
        assert until(lambda: programs(b"sleep") == [] and not aio._source.gate.inside and not aio._source.gate.queue)
        assert asyncio.run(aio.run(["echo", "x"])).stdout == b"x\n"
        if held:
            for task in tasks:
                task._log_destroy_pending = False
            del tasks, task
        gc.collect()


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.01])
def test_a_loop_that_is_closed_while_keepers_start(delay, others):
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(aio.run(["sleep", "1000"], FOREVER, jail=Jail(fresh=True))) for _ in range(6)]
    loop.run_until_complete(asyncio.sleep(delay))
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False
    assert until(lambda: not aio._source.gate.inside and not aio._source.gate.queue and not pyjail._run.idle.leased)
    assert until(lambda: not set(keepers_of(os.getpid())) - others)


def test_a_forked_child_may_run_a_loop_of_its_own():
    code = """
    import asyncio, os, pyjail
    async def main():
        tasks = [asyncio.create_task(pyjail.aio.run(["sleep", "0.5"])) for _ in range(12)]
        await asyncio.sleep(0.2)
        pid = os.fork()
        if not pid: return None
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        return [r.ok for r in await asyncio.gather(*tasks)]
    loop = asyncio.new_event_loop()
    found = loop.run_until_complete(main())
    if found is None:
        asyncio.events._set_running_loop(None)
        async def child(): return [r.stdout for r in await asyncio.gather(*(pyjail.aio.run(["echo", "x"]) for _ in range(12)))]
        assert asyncio.run(child()) == [b"x\\n"] * 12
        pyjail.close()
        os._exit(7)
    print(all(found))
    """
    out = script(code)
    assert out.stdout == "True\n", out.stderr


def test_interpreter_exit_with_runs_in_flight_leaves_nothing():
    code = """
    import asyncio, os, pyjail, threading
    from tests.host_side import programs
    def run():
        async def main():
            await asyncio.gather(*(pyjail.aio.run(["sleep", "1000"], pyjail.Limits(wall_time=None)) for _ in range(20)))
        asyncio.run(main())
    threading.Thread(target=run, daemon=True).start()
    while len(programs(b"sleep")) < 4: pass
    print(os.getpid(), flush=True)
    """
    out = script(code)
    assert out.returncode == 0, out.stderr
    assert until(lambda: not cgroups_of(int(out.stdout)))


def test_own_fds_used_up_is_a_clear_error_and_no_place_is_lost():
    code = """
    import asyncio, os, pyjail, resource
    few = pyjail.Limits(open_files=32)
    async def main():
        async with pyjail.aio.Pool(2, limits=few) as pool:
            resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
            async def out_of_fds(call):
                held = []
                try:
                    while True: held.append(os.open("/dev/null", os.O_RDONLY))
                except OSError: pass
                try: r = await call; print(r.verdict, r.uncollected)
                except OSError as e: print(type(e).__name__, e.errno)
                for fd in held: os.close(fd)
            await pool.run(["true"], files={"a": b""})  # the helper threads are there
            await out_of_fds(pool.run(["true"]))
            await out_of_fds(pool.run(["cat"], input=b"x"))
            await out_of_fds(pool.run(["cat", "a"], files={"a": b"x"}))
            await out_of_fds(pool.run(["touch", "a"], collect=["a"]))
            await out_of_fds(pyjail.aio.run(["true"], few))
            print([r.ok for r in await pool.map([["true"]] * 4)], pool.running)
    asyncio.run(main())
    """
    out = script(code)
    assert out.stdout.splitlines() == [
        "ok {}",
        "OSError 24",
        "SetupError 24",
        "ok {'a': '/box cannot be read: Too many open files'}",
        "OSError 24",
        "[True, True, True, True] 0",
    ], (out.stdout, out.stderr)


def test_a_loop_that_can_watch_no_more_fds_is_a_clear_error_and_the_jail_is_gone(monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()

        def refuse(*args):
            raise OSError(28, "No space left on device")  # fs.epoll.max_user_watches

        monkeypatch.setattr(loop, "add_reader", refuse)
        with pytest.raises(OSError) as e:
            await aio.run(["sleep", "1000"], FOREVER)
        assert e.value.errno == 28
        assert programs(b"sleep") == []

    asyncio.run(main())


def test_import_of_pyjail_loads_neither_asyncio_nor_aio():
    code = """
    import sys, pyjail
    pyjail.run; pyjail.Pool
    print([m for m in ("asyncio", "pyjail.aio", "trio", "anyio") if m in sys.modules])
    pyjail.aio.run
    print([m for m in ("asyncio", "pyjail.aio", "trio", "anyio") if m in sys.modules])
    """
    assert script(code).stdout == "[]\n['asyncio', 'pyjail.aio']\n"
