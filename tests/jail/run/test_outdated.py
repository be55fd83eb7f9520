"""Cgroups that somebody took away since they were looked at: whoever starts something looks again, and starts over."""

from __future__ import annotations

import asyncio

import pytest

import pyjail
from pyjail import Jail, Limits, Party, Pool, Session, aio, testing
from tests.conftest import SLOW
from tests.inside import outdated_cgroups

LIMITS = Limits(cpu_time=10 * SLOW, wall_time=20 * SLOW)
ECHO = ["echo", "x"]
pytestmark = pytest.mark.needs_cgroups


def files():
    return pyjail.run(["cat", "f"], LIMITS, files={"f": "x\n"}).stdout


def start():
    with pyjail.start(ECHO, LIMITS) as p:
        return p.stdout.read()


def session():
    with Session(limits=LIMITS) as s:
        s.write("f", "x\n")
        return s.run(["cat", "f"]).stdout


def pool():
    with Pool(1, warm=1, limits=LIMITS) as p:
        return p.run(ECHO).stdout


def named_pipes():
    a = Party(["sh", "-c", "echo x > /pipes/out"], LIMITS, name="a")
    return pyjail.interact(a, Party(["cat"], LIMITS, name="b"), edges=["a.out -> b.stdin"]).results["b"].stdout


STARTED = {
    "run": lambda: pyjail.run(ECHO, LIMITS).stdout,
    "fresh": lambda: pyjail.run(ECHO, LIMITS, jail=Jail(fresh=True)).stdout,
    "files": files,
    "start": start,
    "aio.run": lambda: asyncio.run(aio.run(ECHO, LIMITS)).stdout,
    "session": session,
    "pool": pool,
    "named pipes": named_pipes,
    "timings": lambda: pyjail.timings(ECHO, LIMITS).result.stdout,
}


@pytest.fixture(autouse=True)
def nothing_is_left():
    with testing.nothing_left():
        yield


@pytest.mark.parametrize("what", STARTED)
def test_who_needs_a_new_keeper_looks_again_once(what):
    pyjail.close()
    with outdated_cgroups("cgroup") as looks:
        assert STARTED[what]() == b"x\n"
    assert len(looks) == 1


@pytest.mark.parametrize("what", ["files", "pool", "named pipes"])
def test_whose_jail_is_made_ahead_looks_again_once(what):
    with outdated_cgroups("cgroup_enter") as looks:
        assert STARTED[what]() == b"x\n"
    assert len(looks) == 1
