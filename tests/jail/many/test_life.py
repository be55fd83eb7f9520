"""Pool: keepers that die, close, terminate, interrupts; nothing is left."""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Limits, Pool, Verdict
from tests.conftest import SLOW
from tests.host_side import alive, keeper_below, keepers_of, programs
from tests.inside import busy_keepers, idle_keepers
from tests.jail.many.blocker import Blocker
from tests.scripts import script, until


def test_a_keeper_killed_in_mid_run_is_a_jail_error_and_its_place_is_free_again():
    with Pool(2) as pool, Blocker(pool.run, 2) as blocker:
        assert until(lambda: len(programs(b"cat")) == 2)
        victim = busy_keepers(pool)[0]
        below = keepers_of(victim.pid)
        os.kill(victim.pid, signal.SIGKILL)
        assert until(lambda: len(blocker.results) == 1)
        assert blocker.results[0].verdict is Verdict.JAIL_ERROR
        assert "SIGKILL" in blocker.results[0].error
        assert until(lambda: not any(map(alive, below)))
        assert pool.run(["echo", "x"]).stdout == b"x\n"
        blocker.release()
        assert until(lambda: len(blocker.results) == 2)
        assert blocker.results[1].ok


def test_idle_keepers_that_die_are_replaced_without_anybody_asking():
    with Pool(2) as pool:
        old = [k.pid for k in idle_keepers(pool)]
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        assert until(lambda: pool.idle == 2 and not {k.pid for k in idle_keepers(pool)} & set(old), 20)
        for keeper in idle_keepers(pool):
            os.kill(keeper_below(keeper.pid), signal.SIGKILL)
        assert [r.stdout for r in pool.map([["echo", "x"]] * 3)] == [b"x\n"] * 3  # not even one that was just killed


def test_idle_keepers_are_ended_in_time_but_for_those_to_keep():
    with Pool(4, idle_timeout=0.1, keep=1) as pool:
        assert until(lambda: pool.idle == 1, 20)
        assert [r.ok for r in pool.map([["true"]] * 8)] == [True] * 8
        assert until(lambda: pool.idle == 1, 20)
    with Pool(1, idle_timeout=0.1, keep=0) as pool:
        assert until(lambda: pool.idle == 0, 20)
        assert pool.run(["true"]).ok


def test_close_waits_for_all_that_was_asked_for():
    pool = Pool(1)
    closing = threading.Thread(target=pool.close)
    with Blocker(pool.run, 3) as blocker:
        assert until(lambda: (pool.running, pool.waiting) == (1, 2))
        closing.start()
        assert until(lambda: "closed" in repr(pool))
        with pytest.raises(pyjail.PoolClosedError) as e:
            pool.run(["true"])
        assert isinstance(e.value, RuntimeError)
        assert not blocker.results and closing.is_alive()
    closing.join()
    assert [r.ok for r in blocker.results] == [True] * 3
    pool.close()
    with pytest.raises(pyjail.PoolClosedError):
        next(pool.map([["true"]]))
    assert pool.idle == 0


def test_terminate_kills_what_runs_and_refuses_who_waits():
    outcomes = []

    def one() -> None:
        try:
            outcomes.append(pool.run(["sleep", "1000"], Limits(wall_time=None)).verdict)
        except pyjail.PoolClosedError as e:
            outcomes.append(str(e))

    pool = Pool(1)
    threads = [threading.Thread(target=one) for _ in range(3)]
    for t in threads:
        t.start()
    assert until(lambda: pool.waiting == 2 and programs(b"sleep"))
    pool.terminate()
    for t in threads:
        t.join()
    assert sorted(map(str, outcomes)) == ["jail_error"] + ["this pool was terminated"] * 2
    assert programs(b"sleep") == []


def test_leaving_the_block_by_an_exception_does_not_wait():
    with pytest.raises(ZeroDivisionError), Pool(2) as pool:
        results = pool.map([["sleep", "1000"]] * 2, Limits(wall_time=None))
        assert until(lambda: len(programs(b"sleep")) == 2)
        raise ZeroDivisionError
    assert programs(b"sleep") == []
    assert next(results).verdict is Verdict.JAIL_ERROR


def test_close_of_pyjail_ends_the_keepers_of_pools_and_the_next_run_starts_new_ones(others):
    with Pool(2) as pool:
        pyjail.close()
        assert not set(keepers_of(os.getpid())) - others
        assert pool.run(["echo", "x"]).stdout == b"x\n"


def test_a_pool_that_is_forgotten_ends_its_keepers_and_warns():
    pool = Pool(2)
    pids = [k.pid for k in idle_keepers(pool)]
    with pytest.warns(ResourceWarning, match="was not closed"):
        del pool
        gc.collect()
    assert not any(map(alive, pids))


def test_a_constructor_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(pyjail.SpecError):
        Pool(2, Jail(rootfs=str(tmp_path / "none")))


def test_interrupts_at_any_instant_lose_no_place():
    code = """
    import gc, os, pyjail, random, signal
    os.environ["PYJAIL_SUBORDINATE_IDS"] = "0"  # newuidmap is run by subprocess, which may lose a child when interrupted
    def interrupt(*_): raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, interrupt)
    rng = random.Random(5)
    with pyjail.Pool(2, timeout=LIMIT) as pool:
        for i in range(60):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0001, 0.01))
                pool.run(["true"])
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt: pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.collect()
        print(pool.running, pool.waiting, [r.ok for r in pool.map([["true"]] * 4)])
    pyjail.close()  # the janitor's end
    try: print(os.waitpid(-1, os.WNOHANG))
    except ChildProcessError: print(None)
    """
    out = script(code.replace("LIMIT", repr(20 * SLOW)), timeout=120)
    assert out.stdout == "0 0 [True, True, True, True]\nNone\n", (out.stdout, out.stderr)


def test_every_snippet_of_the_page_runs():
    page = Path(__file__).resolve().parents[3] / "docs/pools.md"
    shown = []
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        out = script(code)
        assert (out.returncode, out.stderr) == (0, "")
        shown.append(out.stdout.split("\n")[0])
    assert shown[0] == "b'judge\\n'"
    assert (shown[2], len(shown)) == ("100", 5)


@pytest.mark.parametrize("call", ["pool.run(*command)", "list(pool.map([command[0]] * 3, command[1]))"])
def test_an_interrupt_leaves_the_block_when_the_jails_are_gone(call):
    code = f"""
    import os, pyjail, signal, threading, time
    from tests.host_side import programs
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever we were started with
    def interrupt():
        while not programs(b"sleep"): time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    command = ["sleep", "1000"], pyjail.Limits(wall_time=None)
    try:
        with pyjail.Pool(2) as pool: {call}
    except KeyboardInterrupt: print("interrupted", programs(b"sleep"))
    """
    out = script(code)
    assert out.stdout == "interrupted []\n", out.stderr
