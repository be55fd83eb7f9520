"""A client that goes: the work for it is cancelled, and is over when that is told."""

from __future__ import annotations

import asyncio

import pytest

from pyjail.serve import leaving


def receiver(*messages):
    """Gives these, and then nothing any more."""
    rest = list(messages)

    async def receive():
        if rest:
            return {"type": rest.pop(0)}
        return await asyncio.get_running_loop().create_future()

    return receive


def test_work_that_ends_before_the_client_goes_is_the_answer():
    async def work():
        await asyncio.sleep(0)
        return 1

    assert asyncio.run(leaving.while_there(receiver("http.request"), work())) == 1


def test_what_the_work_raises_is_raised():
    async def work():
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(leaving.while_there(receiver(), work()))


def test_work_is_over_when_it_is_told_that_the_client_left():
    done = []

    async def work():
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.01)  # a jail that ends
            done.append(1)

    with pytest.raises(leaving.Left):
        asyncio.run(leaving.while_there(receiver("http.request", "http.disconnect"), work()))
    assert done == [1]


def test_a_cancellation_from_outside_ends_the_work_too_and_stays_one():
    done = []

    async def work():
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.01)
            done.append(1)

    async def main():
        task = asyncio.create_task(leaving.while_there(receiver(), work()))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # once more, while it ends
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == [1]

    asyncio.run(main())
