"""Loops that end early, forks, exits, exhaustion."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings

import pytest
import uvloop

from pyjail import Jail, aio, testing
from tests.host_side import cgroups_of, keepers_of, programs
from tests.inside import aio_gate
from tests.jail.aio.loops import FOREVER, there
from tests.scripts import script, until


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("new", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("options", [{}, {"files": {"a": b"x"}, "jail": Jail(fresh=True)}])
def test_a_loop_that_is_closed_takes_its_jails_with_it(new, held, options):
    """Whether or not somebody still holds the tasks."""
    loop = new()
    count = 12  # more than run at once on a small machine
    tasks = [loop.create_task(aio.run(["sleep", "1000"], FOREVER, **options)) for _ in range(count)]
    at_once = min(count, aio_gate().size)
    loop.run_until_complete(there(lambda: len(programs(b"sleep")) == at_once))
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not held:
            for task in tasks:
                task._log_destroy_pending = False
            del tasks, task
            gc.collect()
        assert until(lambda: programs(b"sleep") == [] and not aio_gate().inside and not aio_gate().queue)
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
    assert until(lambda: not aio_gate().inside and not aio_gate().queue and not testing.busy())
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


def test_a_session_is_closed_where_no_thread_is_to_be_had(monkeypatch):
    def refused(_thread):
        raise RuntimeError("can't start new thread")

    async def main():
        s = aio.Session()
        assert (await s.run(["true"])).ok
        before = len(keepers_of(os.getpid()))
        with monkeypatch.context() as short:
            short.setattr(threading.Thread, "start", refused)
            with pytest.raises(OSError, match="raise RLIMIT_NPROC"):
                await s.run(["true"])
            await s.close()
        assert len(keepers_of(os.getpid())) < before

    asyncio.run(main())
