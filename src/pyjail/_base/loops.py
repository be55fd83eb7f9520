"""What a run needs of an event loop, for asyncio (uvloop too) and for trio: wait for an fd, and for a thread.

``shield=True``: a cancellation does not end the wait. Under asyncio, where it comes but once, it is kept, and raised
by the next wait without shield or by `checkpoint`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Any, Protocol


class Flag(Protocol):
    """Something that happens once, in any thread, and that one task of the loop waits for."""

    def set(self) -> bool:
        """From any thread. False: the loop is gone."""


class Loop(Protocol):
    """One task's view of its event loop."""

    def flag(self) -> Flag: ...

    async def wait(self, flag: Any, seconds: float | None = None, *, shield: bool = False) -> bool:
        """Until the flag is set: True; False after ``seconds``."""

    async def readable(self, fd: int, seconds: float | None = None, *, shield: bool = False) -> bool:
        """Until the fd is readable: True; False after ``seconds``."""

    async def writable(self, fd: int, seconds: float | None = None) -> bool:
        """Until the fd can be written to, or its reader is gone: True; False after ``seconds``."""

    def closing(self, fd: int) -> None:
        """The fd that this waits for is about to be closed: end the wait, as if something had happened."""

    def background(self, call: Callable[[], Any]) -> None:
        """Await this, while nobody waits for it."""

    async def together(self, calls: list[Callable[[], Any]]) -> None:
        """Await them all at once. What the first one raises cancels the others, and is raised when all have ended."""

    def checkpoint(self) -> None:
        """Raise a cancellation that was kept."""

    @property
    def closed(self) -> bool:
        """Whether no task of it will ever go on."""


def current() -> Loop:
    """Of the calling task. RuntimeError: there is none."""
    return _Trio() if _library() == "trio" else _Asyncio()


def _library() -> str:
    if sniffio := sys.modules.get("sniffio"):  # whoever mixes them tells it which one it is
        with contextlib.suppress(sniffio.AsyncLibraryNotFoundError):
            return str(sniffio.current_async_library())
    if trio := sys.modules.get("trio"):
        with contextlib.suppress(RuntimeError):
            trio.lowlevel.current_task()
            return "trio"
    return "asyncio"


class _Wait:
    """One wait under asyncio. What ends it is kept: anyio cancels a task anew in every turn of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.value: bool | None = None
        self.waiter: asyncio.Future[None] | None = None

    def end(self, value: bool) -> None:
        if self.value is None:
            self.value = value
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def park(self) -> bool:
        while self.value is None:
            self.waiter = self.loop.create_future()
            await self.waiter
        return self.value


class _AsyncioFlag:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.happened = False
        self.wait: _Wait | None = None

    def set(self) -> bool:
        try:
            self.loop.call_soon_threadsafe(self._set)
        except RuntimeError:  # it is closed
            return False
        return True

    def _set(self) -> None:
        self.happened = True
        if self.wait is not None:
            self.wait.end(True)


_tasks: set[Any] = set()  # loops refer but weakly to theirs


class _Asyncio:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.cancelled: asyncio.CancelledError | None = None
        self.watched: dict[int, tuple[_Wait, Any]] = {}

    def flag(self) -> _AsyncioFlag:
        return _AsyncioFlag(self.loop)

    @property
    def closed(self) -> bool:
        return self.loop.is_closed()

    def checkpoint(self) -> None:
        if self.cancelled is not None:
            kept, self.cancelled = self.cancelled, None
            raise kept

    async def wait(self, flag: _AsyncioFlag, seconds: float | None = None, *, shield: bool = False) -> bool:
        flag.wait = wait = _Wait(self.loop)
        if flag.happened:
            wait.end(True)
        return await self._park(wait, seconds, shield)

    async def readable(self, fd: int, seconds: float | None = None, *, shield: bool = False) -> bool:
        return await self._watch(fd, seconds, shield, self.loop.add_reader, self.loop.remove_reader)

    async def writable(self, fd: int, seconds: float | None = None) -> bool:
        return await self._watch(fd, seconds, False, self.loop.add_writer, self.loop.remove_writer)

    async def _watch(self, fd: int, seconds: float | None, shield: bool, add: Any, remove: Any) -> bool:
        wait = _Wait(self.loop)
        add(fd, wait.end, True)
        self.watched[fd] = wait, remove
        try:
            return await self._park(wait, seconds, shield)
        finally:
            if self.watched.pop(fd, None) is not None:  # else it was `closing`
                with contextlib.suppress(RuntimeError):  # the loop was closed, and knows no fd any more
                    remove(fd)

    def closing(self, fd: int) -> None:
        wait, remove = self.watched.pop(fd)
        remove(fd)
        wait.end(True)

    def background(self, call: Callable[[], Any]) -> None:
        task = self.loop.create_task(call())
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    async def _park(self, wait: _Wait, seconds: float | None, shield: bool) -> bool:
        timer = None if seconds is None else self.loop.call_later(seconds, wait.end, False)
        try:
            while True:
                if not shield:
                    self.checkpoint()
                try:
                    return await wait.park()
                except asyncio.CancelledError as e:
                    if not shield:
                        raise
                    self.cancelled = e
        finally:
            if timer is not None:
                timer.cancel()

    async def together(self, calls: list[Callable[[], Any]]) -> None:
        tasks = [self.loop.create_task(call()) for call in calls]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            while left := [task for task in tasks if not task.done()]:
                try:
                    await asyncio.wait(left)
                except asyncio.CancelledError as e:
                    self.cancelled = e
        self.checkpoint()
        failed = [task for task in tasks if not task.cancelled() and task.exception() is not None]
        for task in failed or tasks:
            task.result()


class _TrioFlag:
    def __init__(self, trio: Any) -> None:
        self.trio = trio
        self.token = trio.lowlevel.current_trio_token()
        self.event = trio.Event()

    def set(self) -> bool:
        try:
            self.token.run_sync_soon(self.event.set)
        except self.trio.RunFinishedError:
            return False
        return True


class _Trio:
    closed = False  # trio.run ends after its last task

    def __init__(self) -> None:
        self.trio: Any = sys.modules["trio"]

    def flag(self) -> _TrioFlag:
        return _TrioFlag(self.trio)

    def checkpoint(self) -> None:
        """Nothing is kept: the next wait is cancelled by itself."""

    async def wait(self, flag: _TrioFlag, seconds: float | None = None, *, shield: bool = False) -> bool:
        with self._scope(seconds, shield) as scope:
            await flag.event.wait()
        return not scope.cancelled_caught

    async def readable(self, fd: int, seconds: float | None = None, *, shield: bool = False) -> bool:
        with self._scope(seconds, shield) as scope, contextlib.suppress(self.trio.ClosedResourceError):
            await self.trio.lowlevel.wait_readable(fd)
        return not scope.cancelled_caught

    async def writable(self, fd: int, seconds: float | None = None) -> bool:
        with self._scope(seconds, False) as scope, contextlib.suppress(self.trio.ClosedResourceError):
            await self.trio.lowlevel.wait_writable(fd)
        return not scope.cancelled_caught

    def closing(self, fd: int) -> None:
        self.trio.lowlevel.notify_closing(fd)

    def background(self, call: Callable[[], Any]) -> None:
        self.trio.lowlevel.spawn_system_task(call)

    def _scope(self, seconds: float | None, shield: bool) -> Any:
        scope = self.trio.move_on_after(float("inf") if seconds is None else seconds)
        scope.shield = shield
        return scope

    async def together(self, calls: list[Callable[[], Any]]) -> None:
        failed: list[BaseException] = []

        async def one(call: Callable[[], Any], nursery: Any) -> None:
            try:
                await call()
            except Exception as e:
                failed.append(e)
                nursery.cancel_scope.cancel()

        async with self.trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(one, call, nursery)
        if failed:
            raise failed[0]
