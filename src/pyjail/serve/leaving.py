"""Clients that go before they have their answer: what is done for them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Left(Exception):
    """The client is gone: nobody reads an answer."""


async def while_there(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What the work comes to; `Left`, once it has ended, when the client goes before. The body has been read."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(gone(receive))
    left = False

    def leave(_: asyncio.Future[None]) -> None:
        nonlocal left
        if not watch.cancelled():
            watch.exception()  # of a body that was too long after all: nobody is there for an answer, either
            left = not task.done()
            task.cancel()

    watch.add_done_callback(leave)
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        await ended(task)
        raise
    finally:
        watch.remove_done_callback(leave)
        watch.cancel()
    if left:
        await ended(task)
        raise Left
    return task.result()


async def gone(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
        pass


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel them, unless they are done, and wait until they are, however often this is cancelled meanwhile."""
    interrupted = False
    for task in tasks:
        task.cancel()
    while left := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError:
            interrupted = True
    for task in tasks:
        with suppress(asyncio.CancelledError):
            task.exception()
    if interrupted:
        raise asyncio.CancelledError
