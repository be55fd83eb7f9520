"""JailExecutor does what users of concurrent.futures expect."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, as_completed, wait

import pytest

import pyjail
from pyjail import Jail, JailExecutor, Limits, Verdict
from tests.host_side import cgroups_of, keepers_of, left_over, programs
from tests.inside import busy_keepers, owed_by, pool_of
from tests.scripts import script, until

FOREVER = Limits(wall_time=None)


def threads() -> int:
    """All but the one that looks after pools, which ends some time after the last of them."""
    return len([t for t in threading.enumerate() if t.name != "pyjail-upkeep"])


@pytest.fixture(autouse=True)
def others():
    """Nothing is left of a test. The processes below us that are none of its own, such as multiprocessing's."""
    pyjail.run(["true"])  # one fd, of the keeper's program, is kept for good
    pyjail.close()
    before = left_over(), threads()
    yield frozenset(keepers_of(os.getpid()))
    gc.collect()
    pyjail.close()
    assert until(lambda: (left_over(), threads()) == before), (before, left_over(), threading.enumerate())


def test_futures_of_commands():
    with JailExecutor(2, Jail(hostname="judge"), limits=Limits(open_files=77)) as executor:
        assert isinstance(executor, Executor)
        futures = {executor.submit(["sh", "-c", f"hostname; ulimit -n; exit {i}"]): i for i in range(6)}
        for future in as_completed(futures):
            assert (future.result().exit_code, future.result().stdout) == (futures[future], b"judge\n77\n")
        assert executor.submit(["sh", "-c", "ulimit -n"], Limits(open_files=66)).result().stdout == b"66\n"
        assert executor.submit(["cat"], limits=None, input="x", text=True).result().stdout == "x"
        done, pending = wait([executor.submit(["true"]) for _ in range(3)], return_when=FIRST_COMPLETED)
        assert len(done) >= 1 and len(done) + len(pending) == 3


def test_what_run_raises_is_in_the_future_and_what_makes_no_sense_is_raised_at_once():
    with JailExecutor(1) as executor:
        assert isinstance(executor.submit(["nope"]).exception(), FileNotFoundError)
        assert isinstance(executor.submit(["false"], check=True).exception(), pyjail.JailedProcessError)
        assert isinstance(executor.submit(["sleep", "9"], timeout=0.05).exception(), pyjail.TimeoutExpired)
        assert executor.submit(["sleep", "9"], Limits(wall_time=0.05)).result().verdict is Verdict.WALL_TIME
        for field, call in (
            ("args", lambda: executor.submit("true")),
            ("jail", lambda: executor.submit(["true"], jail=Jail())),
        ):
            with pytest.raises(pyjail.SpecError) as e:
                call()
            assert e.value.field == field


def test_what_waits_can_be_cancelled_what_runs_cannot():
    with JailExecutor(1) as executor:
        reader, writer = os.pipe()
        first = executor.submit(["cat"], stdin=reader)
        assert until(first.running)
        second, third = executor.submit(["touch", "x"]), executor.submit(["echo", "third"])
        called = []
        second.add_done_callback(called.append)
        assert (first.cancel(), second.cancel()) == (False, True)
        assert called == [second]
        os.close(writer)
        assert (first.result().ok, third.result().stdout) == (True, b"third\n")
        with pytest.raises(CancelledError):
            second.result()
        os.close(reader)


def test_map_submits_all_now_and_keeps_the_order():
    with JailExecutor(2) as executor:
        results = executor.map([["sh", "-c", f"exit {i}"] for i in range(8)])
        assert until(lambda: not owed_by(executor))  # nobody has asked for a result
        assert [r.exit_code for r in results] == list(range(8))
        assert [r.stdout for r in executor.map([{"args": ["cat"], "input": b"x"}] * 2, buffersize=1)] == [b"x"] * 2


def test_its_size():
    with JailExecutor() as executor:
        assert pool_of(executor).size == len(os.sched_getaffinity(0))
    with JailExecutor(max_workers=3, warm=0) as executor:
        assert pool_of(executor).size == 3
    with pytest.raises(pyjail.SpecError):
        JailExecutor(2, max_workers=2)


@pytest.mark.parametrize("submitted", [0, 1, 5])
def test_shutdown_waits_for_all_and_then_there_are_no_keepers(submitted, others):
    executor = JailExecutor(2)
    futures = [executor.submit(["sh", "-c", f"exit {i}"]) for i in range(submitted)]
    executor.shutdown()
    assert [f.result(0).exit_code for f in futures] == list(range(submitted))
    assert not set(keepers_of(os.getpid())) - others
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(["true"])
    executor.shutdown()


def test_shutdown_without_waiting_still_finishes_what_was_submitted_and_then_ends_the_keepers(others):
    executor = JailExecutor(1)
    reader, writer = os.pipe()
    futures = [executor.submit(["cat"], stdin=reader), executor.submit(["echo", "x"])]
    executor.shutdown(wait=False)
    with pytest.raises(pyjail.PoolClosedError):
        executor.submit(["true"])
    os.close(writer)
    assert [f.result().stdout for f in futures] == [b"", b"x\n"]
    assert until(lambda: not set(keepers_of(os.getpid())) - others)
    os.close(reader)


def test_shutdown_can_cancel_what_was_not_started():
    executor = JailExecutor(1)
    reader, writer = os.pipe()
    futures = [executor.submit(["cat"], stdin=reader) for _ in range(4)]
    assert until(futures[0].running)
    executor.shutdown(wait=False, cancel_futures=True)
    assert [f.cancelled() for f in futures] == [False, True, True, True]
    os.close(writer)
    assert futures[0].result().ok
    os.close(reader)


def test_terminate_kills_what_runs(others):
    executor = JailExecutor(1)
    futures = [executor.submit(["sleep", "1000"], FOREVER) for _ in range(3)]
    assert until(lambda: programs(b"sleep"))
    executor.terminate()
    assert futures[0].result().verdict is Verdict.JAIL_ERROR
    assert [f.cancelled() for f in futures[1:]] == [True, True]
    assert not set(keepers_of(os.getpid())) - others


def test_asyncio_can_await_its_futures():
    async def main() -> list[bytes]:
        with JailExecutor(2) as executor:
            futures = [asyncio.wrap_future(executor.submit(["echo", str(i)])) for i in range(4)]
            return [r.stdout for r in await asyncio.gather(*futures)]

    assert asyncio.run(main()) == [b"%d\n" % i for i in range(4)]


def test_at_interpreter_exit_what_was_submitted_is_finished_and_nothing_is_left():
    code = """
    import os, pyjail
    executor = pyjail.JailExecutor(2)
    for i in range(6):
        future = executor.submit(["sh", "-c", "sleep 0.1; exit %d" % i])
        future.add_done_callback(lambda f: os.write(1, b"%d\\n" % f.result().exit_code))
    os.write(1, b"pid=%d\\n" % os.getpid())
    """
    out = script(code)
    *codes, pid = sorted(out.stdout.split())
    assert (codes, out.stderr, out.returncode) == (["0", "1", "2", "3", "4", "5"], "", 0)
    assert until(lambda: not cgroups_of(int(pid.removeprefix("pid="))))


def test_a_future_of_the_parent_ends_in_a_forked_child_and_the_executor_works_there():
    code = """
    import os, pyjail
    executor = pyjail.JailExecutor(1)
    reader, writer = os.pipe()
    futures = [executor.submit(["cat"], stdin=reader) for _ in range(2)]
    while not futures[0].running(): pass
    pid = os.fork()
    if not pid:
        for future in futures:
            try: future.result(5)
            except pyjail.PoolClosedError as e: assert "before this process was forked" in str(e), e
        assert executor.submit(["echo", "x"]).result().stdout == b"x\\n"
        executor.shutdown()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    os.close(writer)
    print([f.result().verdict.value for f in futures])
    executor.shutdown()
    """
    out = script(code)
    assert out.stdout == "['ok', 'ok']\n", out.stderr


def test_a_keeper_killed_in_mid_run_is_a_jail_error_in_its_future():
    with JailExecutor(1) as executor:
        future = executor.submit(["sleep", "1000"], FOREVER)
        assert until(lambda: programs(b"sleep"))
        os.kill(busy_keepers(pool_of(executor))[0].pid, signal.SIGKILL)
        queued = executor.submit(["echo", "x"])
        assert future.result().verdict is Verdict.JAIL_ERROR
        assert queued.result().stdout == b"x\n"
