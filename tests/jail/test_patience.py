"""Every door that waits takes times in one grammar, however long, and refuses the rest before anything is started."""

from __future__ import annotations

import asyncio
import math

import pytest

import pyjail
from pyjail import Limits, Party, SpecError, TimeoutExpired
from pyjail.grading import Case, check_correctness, check_function, run_tests

PROBLEM = {"task_id": "x", "prompt": "def f(a):\n", "entry_point": "f", "test": "def check(c):\n    assert c(1) == 1\n"}
SOURCE = "def f(a): return a\n"
TEST = "import unittest, s\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(s.f(1), 1)\n"
HOLDS = Limits(wall_time=60)


def by_wait(timeout, args=("true",)):
    with pyjail.start(args, HOLDS) as p:
        try:
            return p.wait(timeout)
        finally:
            p.kill()


def by_communicate(timeout, args=("true",)):
    with pyjail.start(args, HOLDS) as p:
        try:
            p.communicate(timeout=timeout)
            return p.returncode
        finally:
            p.kill()


def by_session(timeout, args=("true",)):
    with pyjail.Session() as s, s.start(args, HOLDS) as p:
        try:
            return p.wait(timeout)
        finally:
            p.kill()


def _awaited(call, args):
    async def main():
        async with await pyjail.aio.start(args, HOLDS) as p:
            try:
                await call(p)
            finally:
                p.kill()
            return p.returncode

    return asyncio.run(main())


def by_awaited_wait(timeout, args=("true",)):
    return _awaited(lambda p: p.wait(timeout), args)


def by_awaited_communicate(timeout, args=("true",)):
    return _awaited(lambda p: p.communicate(timeout=timeout), args)


def by_run(timeout, args=("true",)):
    return pyjail.run(args, HOLDS, timeout=timeout).returncode


def by_session_run(timeout, args=("true",)):
    with pyjail.Session() as s:
        return s.run(args, HOLDS, timeout=timeout).returncode


def by_build(timeout, args=("true",)):
    with pyjail.Session() as s:
        return s.build(list(args), limits=HOLDS, timeout=timeout).result.returncode


def by_awaited_run(timeout, args=("true",)):
    return asyncio.run(pyjail.aio.run(args, HOLDS, timeout=timeout)).returncode


LATER = (by_wait, by_communicate, by_session, by_awaited_wait, by_awaited_communicate)
AT_ONCE = (by_run, by_session_run, by_build, by_awaited_run)
GRADERS = (
    lambda t: check_correctness(PROBLEM, "    return a\n", t),
    lambda t: check_function(SOURCE, "f", [Case((1,), 1)], timeout=t),
    lambda t: run_tests({"s.py": SOURCE}, {"test_s.py": TEST}, ["s"], timeout=t),
)
doors = pytest.mark.parametrize("door", LATER + AT_ONCE, ids=lambda d: d.__name__)


@doors
@pytest.mark.parametrize("timeout", ["20s", "1.5m", "none", 30 * 86400.0, "2000h", 9e9 - 1, None], ids=str)
def test_what_ends_in_time_ends(door, timeout):
    assert door(timeout) == 0


@doors
def test_a_time_that_is_over_is_told_in_seconds(door):
    with pytest.raises(TimeoutExpired) as caught:
        door("200ms", ["sleep", "50"])
    assert caught.value.timeout == 0.2


@doors
@pytest.mark.parametrize("timeout", ["soon", "2 secs", True, math.nan, [1]], ids=str)
def test_what_is_no_time_is_refused(door, timeout):
    with pytest.raises(SpecError, match="timeout"):
        door(timeout)


@pytest.mark.parametrize("door", LATER, ids=lambda d: d.__name__)
def test_a_look_does_not_wait_and_infinity_has_no_end(door):
    for look in (0, -1):
        with pytest.raises(TimeoutExpired):
            door(look, ["sleep", "50"])
    assert door(math.inf) == 0


@pytest.mark.parametrize("door", GRADERS, ids=["check_correctness", "check_function", "run_tests"])
def test_graders_take_them_too(door):
    assert door("20s").passed and door("1m").passed
    with pytest.raises(SpecError, match="timeout"):
        door("none")


def test_an_interaction_may_be_given_months():
    long = Limits(wall_time="1000h")
    assert (
        pyjail.interact(
            Party(["cat"], long), Party(["sleep", "0.1"], long), wall_time="1000h", deadlock_after=None
        ).fault
        is None
    )
