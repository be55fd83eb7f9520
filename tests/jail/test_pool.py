"""Pool: places, order, warmth, pinning, faults. What is left is looked at from the host's side."""

from __future__ import annotations

import collections
import errno
import gc
import itertools
import os
import pickle
import re
import signal
import threading
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Limits, Pool, Verdict
from tests.conftest import QUICK, SLOW
from tests.host_side import alive, cgroups_of, keeper_below, keepers_of, left_over, programs
from tests.scripts import script, until


@pytest.fixture(autouse=True)
def others():
    """Nothing is left of a test. The processes below us that are none of its own, such as multiprocessing's."""
    pyjail.run(["true"])  # one fd, of the keeper's program, is kept for good
    pyjail.close()
    before = left_over()
    yield frozenset(keepers_of(os.getpid()))
    gc.collect()
    pyjail.close()
    assert until(lambda: left_over() == before), (before, left_over())


class Blocker:
    """Runs that take their places until they are let go."""

    def __init__(self, run, count: int = 1) -> None:
        self.reader, self.writer = os.pipe()
        self.results: list[pyjail.Result] = []
        call = lambda: self.results.append(run(["cat"], stdin=self.reader))  # noqa: E731
        self.threads = [threading.Thread(target=call) for _ in range(count)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def release(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def __exit__(self, *error) -> None:
        self.release()
        for t in self.threads:
            t.join()
        os.close(self.reader)


def test_runs_in_the_pools_jail_with_the_pools_limits():
    with Pool(1, Jail(hostname="judge"), limits=Limits(open_files=77)) as pool:
        r = pool.run(
            ["sh", "-c", "hostname; ulimit -n; cat; cat a > b"], input="x", text=True, files={"a": "y"}, collect=["b"]
        )
        assert (r.stdout, r.files) == ("judge\n77\nx", {"b": b"y"})
        assert pool.run(["sh", "-c", "ulimit -n"], Limits(open_files=66)).stdout == b"66\n"
        with pytest.raises(pyjail.JailedProcessError):
            pool.run(["false"], check=True)
        with pytest.raises(FileNotFoundError):
            pool.run(["nope"])
        assert pool.running == 0


def test_the_parameters_are_those_of_run():
    import inspect

    wanted = {name: (p.kind, p.default) for name, p in inspect.signature(pyjail.run).parameters.items()}
    for run in (Pool.run, pyjail.aio.run, pyjail.aio.Pool.run):
        found = {n: (p.kind, p.default) for n, p in inspect.signature(run).parameters.items() if n != "self"}
        assert found == {n: w for n, w in wanted.items() if n != "jail" or run is pyjail.aio.run}


@pytest.mark.parametrize(
    "field, arguments",
    [
        ("size", {"size": 0}),
        ("size", {"size": True}),
        ("size", {"size": 5000}),
        ("size", {"size": None}),
        ("jail", {"jail": "strict"}),
        ("limits", {"limits": 5}),
        ("warm", {"warm": 3}),
        ("warm", {"warm": -1}),
        ("keep", {"keep": 3}),
        ("idle_timeout", {"idle_timeout": 0}),
        ("timeout", {"timeout": "1"}),
        ("pin", {"pin": 1}),
    ],
)
def test_a_senseless_argument_is_named(field, arguments):
    with pytest.raises(pyjail.SpecError) as e:
        Pool(**{"size": 2, **arguments})
    assert e.value.field == field


def test_a_senseless_command_is_named():
    with Pool(1) as pool:
        for field, call in (
            ("args", lambda: pool.run("true")),
            ("buffersize", lambda: pool.map([], buffersize=0)),
            ("args", lambda: list(pool.map(["true"]))),
            ("commands", lambda: pool.map(print, ["true"])),
            ("commands", lambda: list(pool.map([{"input": b""}]))),
            ("jail", lambda: list(pool.map([{"args": ["true"], "jail": Jail()}]))),
            ("inptu", lambda: list(pool.map([["true"]], inptu=b""))),
        ):
            with pytest.raises(pyjail.SpecError) as e:
                call()
            assert e.value.field == field


def test_warm_keepers_are_there_before_the_first_run_and_are_used():
    with Pool(3) as pool:
        assert pool.idle == 3
        warm = {k.pid for k in pool._warm.keepers.keepers}
        with Blocker(pool.run, 3):
            assert until(lambda: len(programs(b"cat")) == 3)
            assert (pool.running, pool.idle) == (3, 0)
        assert {k.pid for k in pool._warm.keepers.keepers} == warm
    with Pool(3, warm=1) as pool:
        assert pool.idle == 1
    with Pool(3, Jail(fresh=True)) as pool:
        assert pool.idle == 0
        assert pool.run(["true"]).ok


def test_never_more_than_its_size_at_once_and_first_come_first_served():
    order: list[int] = []
    with Pool(1) as pool, Blocker(pool.run) as blocker:
        assert until(lambda: pool.running == 1)

        def late(i: int) -> None:
            pool.run(["true"])
            order.append(i)  # the next one is admitted before this, but takes longer than an append

        threads = []
        for i in range(64):
            threads.append(threading.Thread(target=late, args=(i,)))
            threads[-1].start()
            assert until(lambda i=i: pool.waiting == i + 1)
        assert order == []
        blocker.release()
        for t in threads:
            t.join()
    assert sorted(order) == list(range(64))
    assert all(abs(place - i) <= 2 for place, i in enumerate(order)), order


def test_64_threads_have_an_equal_share():
    """Each comes again as soon as it was served: who waits meanwhile is served first."""
    served: collections.Counter[int] = collections.Counter(dict.fromkeys(range(64), 0))
    most, spread = [0], [0]
    lock = threading.Lock()
    with Pool(4) as pool:
        everybody = threading.Barrier(64)

        def one(i: int) -> None:
            everybody.wait()
            for n in range(5):
                r = pool.run(["sh", "-c", f"cat; exit {i}"], input=b"%d" % n)
                assert (r.exit_code, r.stdout) == (i, b"%d" % n)
                with lock:
                    served[i] += 1
                    most[0] = max(most[0], pool.running)
                    spread[0] = max(spread[0], max(served.values()) - min(served.values()))

        threads = [threading.Thread(target=one, args=(i,)) for i in range(64)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert set(served.values()) == {5}
    assert most[0] <= 4
    assert spread[0] <= 3  # a thread may be between its place and the count


def test_map_keeps_the_order_and_takes_no_more_than_it_needs():
    taken = []

    def endless():
        for i in itertools.count():
            taken.append(i)
            yield {"args": ["cat"], "input": b"%d" % i} if i % 2 else ["echo", "-n", str(i)]

    with Pool(2) as pool:
        results = pool.map(endless())
        assert [next(results).stdout for _ in range(10)] == [b"%d" % i for i in range(10)]
        assert len(taken) <= 10 + 2 * 2
        results.close()
        assert [r.exit_code for r in pool.map([["false"], ["true"]], QUICK, buffersize=1)] == [1, 0]
        assert [r.stdout for r in pool.map([["cat"]] * 3, input="x", text=True)] == ["x"] * 3
        assert list(pool.map([])) == []


def test_what_a_command_of_map_raises_is_raised_in_its_turn():
    with Pool(2) as pool:
        results = pool.map([["echo", "a"], ["nope"], ["echo", "c"]])
        assert next(results).stdout == b"a\n"
        with pytest.raises(FileNotFoundError):
            next(results)
        assert list(results) == []


def test_exhausted_is_told_after_the_patience_and_nothing_was_started():
    with Pool(1, timeout=0.05) as pool, Blocker(pool.run):
        assert until(lambda: pool.running == 1)
        for options in ({}, {"timeout": 0.02}):
            with pytest.raises(pyjail.PoolExhaustedError) as e:
                pool.run(["touch", "x"], **options)
            assert isinstance(e.value, TimeoutError) and isinstance(e.value, pyjail.TimeoutExpired)
            assert (e.value.size, e.value.cmd, e.value.timeout) == (1, ["touch", "x"], options.get("timeout", 0.05))
            assert "Raise Pool(size=...)" in str(e.value)
            copy = pickle.loads(pickle.dumps(e.value))
            assert (type(copy), str(copy)) == (type(e.value), str(e.value))
        assert pool.waiting == 0


def test_the_patience_of_a_run_includes_the_wait():
    with Pool(1) as pool:
        with pytest.raises(pyjail.TimeoutExpired) as e:
            pool.run(["sh", "-c", "echo x; sleep 100"], timeout=0.5 * SLOW)
        assert (type(e.value), e.value.output) == (pyjail.TimeoutExpired, b"x\n")
        assert pool.run(["true"]).ok


def test_a_keeper_killed_in_mid_run_is_a_jail_error_and_its_place_is_free_again():
    with Pool(2) as pool, Blocker(pool.run, 2) as blocker:
        assert until(lambda: len(programs(b"cat")) == 2)
        victim = next(iter(pool._warm.keepers.leased))
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
        old = [k.pid for k in pool._warm.keepers.keepers]
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        assert until(lambda: pool.idle == 2 and not {k.pid for k in pool._warm.keepers.keepers} & set(old), 20)
        for keeper in pool._warm.keepers.keepers:
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
    pids = [k.pid for k in pool._warm.keepers.keepers]
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
    try: print(os.waitpid(-1, os.WNOHANG))
    except ChildProcessError: print(None)
    """
    out = script(code.replace("LIMIT", repr(20 * SLOW)), timeout=120)
    assert out.stdout == "0 0 [True, True, True, True]\nNone\n", (out.stdout, out.stderr)


def test_every_snippet_of_the_page_runs():
    page = Path(__file__).resolve().parents[2] / "docs/pools.md"
    shown = []
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        out = script(code)
        assert (out.returncode, out.stderr) == (0, "")
        shown.append(out.stdout.split("\n")[0])
    assert shown[0] == "b'judge\\n'"
    assert (shown[2], len(shown)) == ("100", 4)


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


# ---- a core of its own ----


def cores() -> int:
    """Physical cores that we may use, counted by another way than pyjail's."""
    found = set()
    for cpu in os.sched_getaffinity(0):
        with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as f:
            found.add(f.read())
    return len(found)


def test_pinned_workers_have_cores_of_their_own():
    count = cores()
    with Pool(count, pin=True) as pool:
        assert len(set(pool.cpus)) == count and set(pool.cpus) <= os.sched_getaffinity(0)
        shown = ["sh", "-c", "grep Cpus_allowed_list /proc/self/status; cat"]
        reader, writer = os.pipe()
        results = pool.map([shown] * count, stdin=reader)
        assert until(lambda: len(programs(b"cat")) == count)
        os.close(writer)
        seen = sorted(int(r.stdout.split()[1]) for r in results)
        os.close(reader)
        assert seen == sorted(pool.cpus)
        with pytest.raises(pyjail.HostError) as e:  # somebody has them already
            Pool(1, pin=True)
        assert (e.value.control, "other pinned pools" in e.value.cause) == ("pin", True)
        with pytest.raises(pyjail.SpecError) as s:
            pool.run(["true"], Limits(cpus=0.5))
        assert s.value.field == "cpus"
    with Pool(1, pin=True) as pool:  # they are free again
        assert pool.run(["nproc"]).stdout == b"1\n"


def test_fewer_cores_than_workers_is_refused_with_the_fix():
    count = cores()
    with pytest.raises(pyjail.HostError) as e:
        Pool(count + 1, pin=True)
    assert e.value.control == "pin"
    assert f"Pool(size={count}, pin=True)" in e.value.hint and "pin=False" in e.value.hint


def test_pinning_keeps_to_the_affinity_of_this_process():
    code = """
    import os, pyjail
    last = max(os.sched_getaffinity(0))
    pyjail.run(["true"])  # what was found out about this machine holds no more after the next line
    os.sched_setaffinity(0, {last})
    with pyjail.Pool(1, pin=True) as pool:
        print(pool.cpus == (last,), pool.run(["nproc"]).stdout)
    try: pyjail.Pool(2, pin=True)
    except pyjail.HostError as e: print(f"CPUs [{last}]" in e.cause)
    """
    out = script(code)
    assert out.stdout == "True b'1\\n'\nTrue\n", out.stderr


# ---- fork, exit, and the end of our own resources ----


def test_a_forked_child_has_a_pool_of_its_own_and_leaves_the_parents_alone():
    code = """
    import os, pyjail, threading
    pool = pyjail.Pool(2)
    reader, writer = os.pipe()
    results = []
    busy = [threading.Thread(target=lambda: results.append(pool.run(["cat"], stdin=reader))) for _ in range(4)]
    for t in busy: t.start()
    while (pool.running, pool.waiting) != (2, 2): pass
    pid = os.fork()
    if not pid:
        assert (pool.running, pool.waiting, pool.idle) == (0, 0, 0), pool
        assert [r.stdout for r in pool.map([["echo", "x"]] * 4)] == [b"x\\n"] * 4
        pool.close()
        assert not pyjail.Pool(1).run(["false"]).ok
        raise SystemExit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    os.close(writer)
    for t in busy: t.join()
    print([r.ok for r in results], pool.run(["echo", "parent"]).stdout)
    pool.close()
    """
    out = script(code)
    assert out.stdout == "[True, True, True, True] b'parent\\n'\n", out.stderr


def test_interpreter_exit_with_runs_in_flight_leaves_nothing():
    code = """
    import os, pyjail, threading
    pool = pyjail.Pool(2)
    for i in range(4):
        threading.Thread(target=pool.run, args=(["sleep", "1000"], pyjail.Limits(wall_time=None)), daemon=True).start()
    while (pool.running, pool.waiting) != (2, 2): pass
    print(os.getpid(), flush=True)
    """
    out = script(code)
    assert out.returncode == 0, out.stderr
    assert until(lambda: not cgroups_of(int(out.stdout)))


def test_own_fds_used_up_is_a_clear_error_and_no_place_is_lost():
    code = """
    import os, pyjail, resource
    few = pyjail.Limits(open_files=32)
    pool = pyjail.Pool(2, limits=few)
    resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
    def out_of_fds(call, left=0):
        held = []
        try:
            while True: held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError: pass
        for _ in range(left): os.close(held.pop())
        try: r = call(); print(r.verdict, r.uncollected)
        except OSError as e: print(type(e).__name__, e.errno)
        for fd in held: os.close(fd)
    out_of_fds(lambda: pool.run(["true"]))  # a warm keeper needs nothing more
    out_of_fds(lambda: pool.run(["cat"], input=b"x"))
    out_of_fds(lambda: pool.run(["cat", "a"], files={"a": b"x"}))
    out_of_fds(lambda: pool.run(["touch", "a"], collect=["a"]))
    out_of_fds(lambda: pyjail.Pool(2, limits=few))
    print([r.ok for r in pool.map([["true"]] * 4)], pool.running)
    pool.close()
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


def test_threads_that_cannot_be_started_are_a_clear_error():
    code = """
    import pyjail, resource, threading
    threading.stack_size(64 << 20)  # so that the bound on addresses is met by threads, not by our own objects
    pool = pyjail.Pool(4)
    with open("/proc/self/statm") as f: now = int(f.read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (now + (100 << 20),) * 2)
    try: list(pool.map([["true"]] * 4))
    except OSError as e: print(e.errno, "RLIMIT_AS" in str(e))
    print(pool.run(["true"]).verdict)
    pool.close()
    """
    out = script(code)
    assert out.stdout == "11 True\nok\n", (out.stdout, out.stderr)


def test_upkeep_and_helpers_that_cannot_be_started_are_a_clear_error_and_nothing_is_left():
    code = """
    import asyncio, os, pyjail, resource, threading
    from tests.host_side import keepers_of
    pyjail.run(["true"]); pyjail.close()
    pyjail.Pool, pyjail.aio.run
    threading.stack_size(64 << 20)
    with open("/proc/self/statm") as f: now = int(f.read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (now + (32 << 20), -1))
    async def run(): return await pyjail.aio.run(["true"], files={"a": b"x"})
    for call in (lambda: pyjail.Pool(1), lambda: asyncio.run(run())):
        try: call()
        except OSError as e: print(e.errno, "RLIMIT_AS" in str(e), keepers_of(os.getpid()))
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    with pyjail.Pool(1) as pool: print(pool.run(["true"]).verdict, asyncio.run(run()).verdict)
    """
    out = script(code)
    assert out.stdout == "11 True []\n11 True []\nok ok\n", (out.stdout, out.stderr)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN])
@pytest.mark.parametrize("where", ["send", "recv"])
def test_own_memory_used_up_in_the_talk_with_a_keeper_is_told_and_ends_the_jail(number, where):
    """The keeper lives then, with a program in it: nobody may wait for it to die by itself."""

    class Failing:
        def __init__(self, sock):
            self.sock = sock

        def __getattr__(self, name):
            return getattr(self.sock, name)

        def recv(self, size):
            if where == "recv":
                raise OSError(number, os.strerror(number))
            return self.sock.recv(size)

        def send(self, data):
            if where == "send":
                raise OSError(number, os.strerror(number))
            return self.sock.send(data)

    with Pool(1) as pool:
        (keeper,) = pool._warm.keepers.keepers
        keeper.sock = Failing(keeper.sock)
        with pytest.raises(OSError) as e:
            pool.run(["sleep", "1000"], Limits(wall_time=None))
        assert e.value.errno == number
        assert programs(b"sleep") == []
        assert pool.run(["true"]).ok


def test_a_process_limit_of_ours_is_a_clear_error(monkeypatch):
    from pyjail import _keeper

    with Pool(2, warm=1) as pool, Blocker(pool.run):
        assert until(lambda: len(programs(b"cat")) == 1)
        real = _keeper.lib

        class NoMore:
            def __getattr__(self, name):
                return getattr(real, name)

            def pj_spawn(self, *args):
                args[-1].step, args[-1].index, args[-1].err = real.STEP_CLONE, real.PJ_NONE, errno.EAGAIN
                return -1

        monkeypatch.setattr(_keeper, "lib", NoMore())
        with pytest.raises(OSError) as e:
            pool.run(["true"])
        assert e.value.errno == errno.EAGAIN
        monkeypatch.undo()
        assert pool.run(["true"]).ok
