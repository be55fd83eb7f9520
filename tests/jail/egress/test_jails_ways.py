"""Each way to run a program has its way out in an `Egress`, and is told of it; so has each of many at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import pyjail
from pyjail import Jail, Limits, aio
from tests import place
from tests.inside import egress_link
from tests.jail.egress.jails import LIMITS, PYTHON, TALK, jail, nobody_served
from tests.jail.egress.ways import (
    by_a_loop,
    by_interact,
    by_measure,
    by_pool,
    by_run,
    by_session,
    by_start,
    by_trio,
    one,
    told,
    with_files,
)
from tests.jail.egress.world import until


@pytest.fixture(autouse=True)
def nobody_is_served_afterwards() -> Iterator[None]:
    yield
    assert until(nobody_served)
    pyjail.close()
    assert egress_link().runs == set()


WAYS = [by_run, by_start, by_pool, by_session, by_interact, by_measure, by_a_loop, by_trio, with_files]


@pytest.mark.parametrize("kind", ["again", "fresh", "deterministic"])
@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_run_has_its_way_out_and_is_told_of_it(way, kind):
    given = {} if kind == "again" else {kind: True}
    if way is by_interact and kind == "deterministic":
        given = {}  # parties that run at once are chance
    if way is by_session and kind == "fresh":
        given = {}
    of = Jail(network=jail("pypi.org").network, **given)
    for _ in range(2):
        assert told(way(of)) == [7]


def test_runs_one_after_the_other_have_each_their_own():
    of = jail()
    for port in range(1, 31):
        assert told(pyjail.run(one(port), LIMITS, jail=of)) == [port]


def many(count: int, width: int) -> None:
    of = jail()

    def run(port: int) -> list[int]:
        return told(pyjail.run(one(port), LIMITS, jail=of))

    with ThreadPoolExecutor(width) as threads:
        assert list(threads.map(run, range(1, count + 1))) == [[port] for port in range(1, count + 1)]


def test_two_hundred_runs_some_at_once_have_each_their_own():
    many(200, 8)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_runs_have_each_their_own():
    many(1000, 32)


def test_two_hundred_that_live_at_once_have_each_their_own():
    of, count = jail(), 200 if place.CGROUPS else 50
    code = TALK + "\nsys.stdin.read(1)\nprint(answer([head(f'host.test:{sys.argv[1]}')])[9:12])\n"
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(pyjail.start([*PYTHON, code, str(port)], Limits(wall_time=None), jail=of))
            for port in range(1, count + 1)
        ]
        assert len(egress_link().runs) >= count
        for p in started:
            assert p.stdin is not None
            p.stdin.close()
        for p in started:
            assert p.stdout is not None and p.stdout.read() == b"403\n"
            p.wait()
        assert [told(p.result) for p in started] == [[port] for port in range(1, count + 1)]


def test_tasks_of_a_loop_have_each_their_own():
    async def main() -> list[pyjail.Result]:
        return await asyncio.gather(*[aio.run(one(port), LIMITS, jail=jail()) for port in range(1, 41)])

    assert [told(r) for r in asyncio.run(main())] == [[port] for port in range(1, 41)]
