"""What does the runs of a store, as many at once as have slots, also those that an earlier service left: `Worker`."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from pyjail.serve.config import Jobs
from pyjail.serve.problem import Problem
from pyjail.serve.store import Record, Store

_PAUSE = 1.0  # seconds after what failed
_POLL = 1.0  # seconds after which a store that others write to is asked again
_log = logging.getLogger("pyjail.serve")


class Doer(Protocol):
    """Who knows how a record is done."""

    async def do(self, record: Record) -> Mapping[str, Any]:
        """Its result, in types of JSON. Raises `Problem` 503 where it is to wait again; another one is the result."""

    def over(self, record: Record, state: str, result: Mapping[str, Any] | None) -> None:
        """Told once the store knows: "done", "queued" (it will be done again), or "cancelled" (by whomever)."""


class Worker:
    """Claims what waits in ``store`` and has it done, at most ``most`` at once."""

    def __init__(self, store: Store, doer: Doer, jobs: Jobs, most: int) -> None:
        self.name = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
        self._store, self._doer, self._jobs, self._most = store, doer, jobs, most
        self._doing: dict[str, asyncio.Task[Mapping[str, Any]]] = {}
        self._watching: set[asyncio.Task[None]] = set()
        self._stopped: set[str] = set()  # while one is claimed, which is not known to be done here yet
        self._woken, self._ending = asyncio.Event(), False
        self._seen = time.time()  # the last look at the clock
        self._asked = time.monotonic()  # when the store last answered
        self._failed = False  # it did not when it was asked last
        self._claiming: asyncio.Task[None] | None = None

    def start(self) -> None:
        """From now on."""
        self._claiming = asyncio.create_task(self._claim_all(), name="pyjail-worker")

    def wake(self) -> None:
        """There may be something to claim."""
        self._woken.set()

    @property
    def stalled(self) -> str:
        """Why nothing that waits would be done, for people; "" when it would."""
        if self._claiming is None or self._claiming.done():
            return "" if self._ending else "the worker of runs is dead"
        if self._failed:
            return "the store of runs fails"
        return "the store of runs does not answer" if time.monotonic() - self._asked > self._jobs.lease else ""

    async def stop(self, id: str) -> None:
        """It is not done any more, if it was: when this returns its jail is gone. The store knows already."""
        self._stopped.add(id)
        if task := self._doing.get(id):
            await _ended(task)

    async def end(self) -> None:
        """Claims nothing more; what is not done is ended, and waits again."""
        self._ending = True
        self.wake()
        if self._claiming is not None:
            await asyncio.wait((self._claiming,))
        for task in list(self._doing.values()):
            task.cancel()
        while self._watching:
            await asyncio.wait(self._watching)

    async def _claim_all(self) -> None:
        while not self._ending:
            self._woken.clear()
            try:
                await self._catch_up()
                free = len(self._doing) < self._most
                record = await self._store.claim(self.name) if free else None
                self._asked, self._failed = time.monotonic(), self._failed and not free
            except Exception:
                if not self._failed:
                    _log.exception("no run could be claimed")
                record, self._failed = None, True
            if record is not None:
                if record.id not in self._stopped:
                    self._begin(record)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL if self._jobs.postgres or self._failed else self._jobs.lease / 3):
                    await self._woken.wait()

    async def _catch_up(self) -> None:
        """When this process was stopped for so long that its leases are over, or the clock was set, they are renewed
        before it takes its own runs for those of a dead worker."""
        now, before = time.time(), self._seen
        if abs(now - before) > self._jobs.lease / 2:
            for id in list(self._doing):
                await self._store.beat(id, self.name)
        self._seen = now

    def _begin(self, record: Record) -> None:
        self._doing[record.id] = asyncio.create_task(self._do(record))
        watching = asyncio.create_task(self._watch(record, self._doing[record.id]))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)

    async def _do(self, record: Record) -> Mapping[str, Any]:
        try:
            return await self._doer.do(record)
        except Problem as e:
            if e.status == 503:
                raise
            return {"problem": e.to_dict()}
        except Exception:
            _log.exception("a run failed")
            return {"problem": Problem(500, "internal", "the service failed, not the program").to_dict()}

    async def _watch(self, record: Record, task: asyncio.Task[Mapping[str, Any]]) -> None:
        """Until it has ended: the lease is renewed, and then the store is told."""
        try:
            while not (await asyncio.wait((task,), timeout=self._jobs.lease / 3))[0]:
                if not await self._beat(record):
                    await _ended(task)
            await self._tell(record, task)
        except Exception:
            _log.exception("the end of a run could not be kept")
        finally:
            self._doing.pop(record.id, None)
            self.wake()

    async def _tell(self, record: Record, task: asyncio.Task[Mapping[str, Any]]) -> None:
        if task.cancelled() or task.exception() is not None:
            waits = await self._sure(lambda: self._store.release(record.id, self.name), False)
            self._doer.over(record, "queued" if waits else "cancelled", None)
            if waits and not self._ending:
                await asyncio.sleep(_PAUSE)  # the service has no room: at once it would be no better
            return
        result = task.result()
        mine = await self._finish(record, result)
        if mine is None:
            result = {"problem": Problem(507, "disk-full", "the service had no room for the result").to_dict()}
            mine = await self._finish(record, result)
        self._doer.over(record, *(("done", result) if mine else ("cancelled", None)))

    async def _beat(self, record: Record) -> bool:
        try:
            return await self._store.beat(record.id, self.name)
        except Exception:
            _log.exception("a lease could not be renewed")
            return True  # as long as nobody says otherwise; it is tried again

    async def _finish(self, record: Record, result: Mapping[str, Any]) -> bool | None:
        """None: there is no room for it."""
        try:
            return await self._sure(lambda: self._store.finish(record.id, self.name, result, record.sure), False)
        except Problem:
            return None

    async def _sure(self, call: Callable[[], Awaitable[bool]], otherwise: bool) -> bool:
        """What it says, asked again while the store does not answer and the lease lasts."""
        end = asyncio.get_running_loop().time() + self._jobs.lease
        while True:
            try:
                return await call()
            except Exception as e:
                if isinstance(e, Problem) and e.status == 507:
                    raise
                _log.exception("the store does not answer")
                if self._ending or asyncio.get_running_loop().time() > end:
                    return otherwise
            await asyncio.sleep(_PAUSE)


async def every(seconds: float, *chores: Callable[[], Awaitable[object]]) -> None:
    """Each of them, again and again, until it is cancelled."""
    while True:
        for chore in chores:
            try:
                await chore()
            except Exception:
                _log.exception("a chore failed")
        await asyncio.sleep(seconds)


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait((task,))
