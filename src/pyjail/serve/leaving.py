"""Clients that go before they have their answer: what is done for them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
CLIENT = "pyjail.client"  # of a scope: its `Client`, by who speaks HTTP


class Left(Exception):
    """The client is gone: nobody reads an answer."""


class Client:
    """Who asked. A task that looks for his end would cost a request more than all that is looked at before it runs."""

    def __init__(self, listen: Callable[[], object]) -> None:
        """``listen``: reads on, for nobody else hears whether he is there."""
        self._listen, self._gone, self._left = listen, False, False
        self._task: asyncio.Task[Any] | None = None

    def waits_for(self, task: asyncio.Task[Any] | None) -> None:
        """This task is cancelled when he goes."""
        self._task = task
        if task is not None:
            self._listen()

    def go(self) -> None:
        """He is gone."""
        self._gone = True
        if self._task is not None:
            self._left = True
            self._task.cancel()

    @property
    def gone(self) -> bool:
        return self._gone

    def left(self, task: asyncio.Task[Any]) -> bool:
        """Whether that alone cancelled it."""
        return self._left and not task.uncancel()


async def while_there(scope: Mapping[str, Any], work: Coroutine[Any, Any, T]) -> T:
    """What the work comes to; `Left`, once it has ended, when the client of this scope goes before. His body has been
    read."""
    client: Client | None = scope.get(CLIENT)
    if client is None:
        return await work
    if client.gone:
        work.close()
        raise Left
    task = asyncio.current_task()
    assert task is not None
    client.waits_for(task)
    try:
        came = await work
    except BaseException:
        if client.left(task):
            raise Left from None
        raise
    finally:
        client.waits_for(None)
    if client.left(task):
        raise Left
    return came


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
