"""What a call has used is gone when the call is over: nothing waits for the cycle collector, whatever came out."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest

import pyjail
from pyjail import ExecError, Limits, TimeoutExpired, aio
from tests.conftest import SLOW
from tests.inside import HOLDERS

LIMITS = Limits(wall_time=20 * SLOW)


def in_a_session(args: list[str], **options: float) -> None:
    with pyjail.Session(limits=LIMITS) as s:
        s.run(args, **options)


def dropped_in_a_session() -> None:
    with pyjail.Session(limits=LIMITS) as s:
        s.start(["sleep", "9"])


async def awaited(args: list[str]) -> None:
    with contextlib.suppress(ExecError):  # here: of one that leaves it, asyncio keeps a cycle of its own
        await aio.run(args, LIMITS)


def waited_for(args: list[str]) -> None:
    p = pyjail.start(args, LIMITS)
    p.wait()
    p.close()


CALLS = {
    "run": lambda: pyjail.run(["true"], LIMITS),
    "run: no such program": lambda: pyjail.run(["nosuch"], LIMITS),
    "run: impatient": lambda: pyjail.run(["sleep", "9"], LIMITS, timeout=0.1),
    "session": lambda: in_a_session(["true"]),
    "session: no such program": lambda: in_a_session(["nosuch"]),
    "session: impatient": lambda: in_a_session(["sleep", "9"], timeout=0.1),
    "session: dropped": dropped_in_a_session,
    "start": lambda: waited_for(["true"]),
    "start: dropped": lambda: pyjail.start(["sleep", "9"], LIMITS) and None,
    "aio.run": lambda: asyncio.run(awaited(["true"])),
    "aio.run: no such program": lambda: asyncio.run(awaited(["nosuch"])),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", CALLS)
def test_nothing_of_a_call_waits_for_the_collector(name):
    def call() -> None:
        with contextlib.suppress(ExecError, TimeoutExpired):
            CALLS[name]()

    call()  # what is made once
    gc.collect()
    before = {id(o) for o in gc.get_objects() if isinstance(o, HOLDERS)}
    gc.disable()
    try:
        call()
        left = [o for o in gc.get_objects() if isinstance(o, HOLDERS) and id(o) not in before]
    finally:
        gc.enable()
    assert left == []
