"""A client that goes: the work for it is cancelled, and is over when that is told."""

from __future__ import annotations

import asyncio

import pytest

from pyjail.serve import leaving
from pyjail.serve.leaving import CLIENT, Client


def listens():
    """Nobody has to be read."""


async def soon(act):
    await asyncio.sleep(0.01)
    act()


def test_work_that_ends_before_the_client_goes_is_the_answer():
    async def work():
        await asyncio.sleep(0)
        return 1

    async def main():
        client = Client(listens)
        assert await leaving.while_there({CLIENT: client}, work()) == 1
        client.go()  # and now nobody waits for him
        await asyncio.sleep(0)

    asyncio.run(main())


def test_what_the_work_raises_is_raised():
    async def work():
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(leaving.while_there({CLIENT: Client(listens)}, work()))


def test_a_client_whom_nobody_hears_stays():
    async def work():
        return 1

    assert asyncio.run(leaving.while_there({}, work())) == 1


def test_who_is_waited_for_is_heard():
    heard = []

    async def work():
        return list(heard)

    assert asyncio.run(leaving.while_there({CLIENT: Client(lambda: heard.append(1))}, work())) == [1]


@pytest.mark.parametrize("ends", [None, KeyError("x"), 1])
def test_work_is_over_when_it_is_told_that_the_client_left(ends):
    done = []

    async def work():
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            if isinstance(ends, int):
                return ends
            if ends is not None:
                raise ends from None
            raise
        finally:
            await asyncio.sleep(0.01)  # a jail that ends
            done.append(1)

    async def main():
        client = Client(listens)
        going = asyncio.create_task(soon(client.go))
        with pytest.raises(leaving.Left):
            await leaving.while_there({CLIENT: client}, work())
        task = asyncio.current_task()
        assert task is not None and not task.cancelling()
        await going

    asyncio.run(main())
    assert done == [1]


def test_nothing_is_begun_for_who_has_gone_before():
    async def work():
        raise AssertionError

    client = Client(listens)
    client.go()
    with pytest.raises(leaving.Left):
        asyncio.run(leaving.while_there({CLIENT: client}, work()))


def test_a_cancellation_from_outside_ends_the_work_too_and_stays_one():
    done = []

    async def work():
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.01)
            done.append(1)

    async def main():
        client = Client(listens)
        task = asyncio.create_task(leaving.while_there({CLIENT: client}, work()))
        await asyncio.sleep(0.01)
        task.cancel()
        client.go()  # as well
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == [1]

    asyncio.run(main())
