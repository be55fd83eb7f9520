"""Fixtures: each loop in turn; nothing is left of any test."""

from __future__ import annotations

import asyncio
import gc
import os

import anyio
import pytest

import pyjail
from pyjail import aio, testing
from tests.conftest import SLOW
from tests.host_side import keepers_of, left_over
from tests.inside import aio_gate
from tests.jail.aio.loops import LOOPS
from tests.scripts import until


@pytest.fixture(autouse=True, scope="session")
def loops_were_used():
    """Each kind opens something for good when it is first used; so do the helper threads."""

    async def once():
        async with await aio.start(["true"]):
            pass

    for options in LOOPS.values():
        anyio.run(once, **options)
    asyncio.run(once())


@pytest.fixture(autouse=True)
def others():
    """Nothing is left of a test. The processes below us that are none of its own, such as multiprocessing's."""
    pyjail.run(["true"])  # one fd, of the keeper's program, is kept for good
    pyjail.close()
    before = left_over()
    yield frozenset(keepers_of(os.getpid()))
    gc.collect()
    assert aio_gate().inside == set() and not aio_gate().queue
    assert until(lambda: not testing.busy())  # one with fresh=True is ended in a thread
    pyjail.close()
    assert until(lambda: left_over() == before), (before, left_over())


@pytest.fixture(params=LOOPS)
def loop(request):
    """Run an async function under this loop; its result."""

    def run(main, *args):
        return anyio.run(main, *args, **LOOPS[request.param])

    run.name = request.param
    return run


@pytest.fixture(params=LOOPS)
def everywhere(request):
    """Run an async function on each kind of loop; one that hangs fails."""

    def run(function):
        async def guarded():
            with anyio.fail_after(60 * SLOW):
                return await function()

        return anyio.run(guarded, **LOOPS[request.param])

    return run
