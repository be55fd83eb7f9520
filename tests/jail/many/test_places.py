"""Pool: arguments, places, order, patience."""

from __future__ import annotations

import collections
import itertools
import pickle
import threading

import pytest

import pyjail
from pyjail import Jail, Limits, Pool
from tests.conftest import QUICK, SLOW
from tests.host_side import programs
from tests.inside import idle_keepers
from tests.jail.many.blocker import Blocker
from tests.scripts import until


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

    for run in (Pool.run, pyjail.aio.run, pyjail.aio.Pool.run):
        found = set(inspect.signature(run).parameters) - {"self", "jail"}
        assert found == {"args", "limits", "options"}
        assert inspect.get_annotations(run)["options"] == "Unpack[Options]"


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
        ("timeout", {"timeout": "1x"}),
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
        warm = {k.pid for k in idle_keepers(pool)}
        with Blocker(pool.run, 3):
            assert until(lambda: len(programs(b"cat")) == 3)
            assert (pool.running, pool.idle) == (3, 0)
        assert {k.pid for k in idle_keepers(pool)} == warm
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


def test_all_threads_have_an_equal_share():
    """Each comes again as soon as it was served: who waits meanwhile is served first."""
    served: collections.Counter[int] = collections.Counter(dict.fromkeys(range(24), 0))
    most, spread = [0], [0]
    lock = threading.Lock()
    with Pool(4) as pool:
        everybody = threading.Barrier(24)

        def one(i: int) -> None:
            everybody.wait()
            for n in range(24):
                r = pool.run(["sh", "-c", f"cat; exit {i}"], input=b"%d" % n)
                assert (r.exit_code, r.stdout) == (i, b"%d" % n)
                with lock:
                    served[i] += 1
                    most[0] = max(most[0], pool.running)
                    spread[0] = max(spread[0], max(served.values()) - min(served.values()))

        threads = [threading.Thread(target=one, args=(i,)) for i in range(24)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert set(served.values()) == {24}
    assert most[0] <= 4
    assert spread[0] <= 18  # 24 when those that come again are first; a busy machine may keep a thread from counting


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
