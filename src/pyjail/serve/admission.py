"""Whose turn it is: a fixed number of slots, a bounded queue, fair among tenants."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from pyjail.serve import watch
from pyjail.serve.config import Admission, Token
from pyjail.serve.problem import Problem

_RECENT = 64  # ends that the rate is measured by
_LATELY = 30.0  # seconds in which they were
_LONGEST = 60  # seconds of Retry-After


class Turns:
    """Slots for programs. Those of one tenant wait in the order in which they came; tenants take turns.

    Attributes: ``running`` and ``waiting`` count; while ``draining`` nobody new has a turn.
    """

    def __init__(self, admission: Admission) -> None:
        self._most, self._queue, self._patience = admission.concurrent, admission.queue, admission.patience
        self.running = self.waiting = 0
        self._of: dict[str, int] = {}  # running programs of each tenant
        self._shares: dict[str, int | None] = {}
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}  # in the order of whose turn is next
        self._ends: deque[float] = deque(maxlen=_RECENT)
        self.draining = False
        self._inside: set[asyncio.Task[Any]] = set()  # that have a slot, or wait for one
        self._ended: set[asyncio.Task[Any]] = set()  # of these, those that `end` cancelled
        self._left = asyncio.Event()

    @asynccontextmanager
    async def slot(self, tenant: str, token: Token | None = None, *, patient: bool = False) -> AsyncIterator[float]:
        """A slot while the block lasts: the seconds that it was waited for. Raises `Problem` 429 or 503; not to who is
        ``patient``, as long as the service is not being ended."""
        began = time.monotonic()
        with self._counted():
            await self._enter(tenant, token, patient)
            try:
                yield time.monotonic() - began
            finally:
                self._leave(tenant)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Within, `end` cancels this task, and what comes of that is 503."""
        task = asyncio.current_task()
        assert task is not None
        self._inside.add(task)
        watch.current.get().turn = True
        try:
            yield
        except asyncio.CancelledError:
            if task in self._ended and not task.uncancel():
                raise self._busy(503, "ended", "the service was ended before this was") from None
            raise
        finally:
            self._inside.discard(task)
            self._ended.discard(task)
            if not self._inside:
                self._left.set()

    def end(self) -> None:
        """Cancels all that run and all that wait: each is 503, and nobody has a turn after them."""
        self.draining = True
        for task in self._inside - self._ended:
            self._ended.add(task)
            task.cancel()

    async def idle(self) -> None:
        """When nobody has a slot or waits for one."""
        while self._inside:
            self._left.clear()
            await self._left.wait()

    async def _enter(self, tenant: str, token: Token | None, patient: bool) -> None:
        if self.draining:
            raise self._busy(503, "draining", "the service is being ended")
        share = token.concurrent if token else None
        line = self._lines.get(tenant)
        if line is None and self.running < self._most and (share is None or self._of.get(tenant, 0) < share):
            self._take(tenant)
            return
        if not patient and self.waiting >= self._queue:
            raise self._busy(503, "queue-full", "the queue is full")
        if not patient and token and token.queue is not None and len(line or ()) >= token.queue:
            raise self._busy(429, "share-full", f"{token.queue} requests of this token wait already")
        self._shares[tenant] = share
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tenant, deque()).append(turn)
        self.waiting += 1
        try:
            async with asyncio.timeout(None if patient else self._patience):
                await turn
        except BaseException as e:
            if turn.done() and not turn.cancelled():
                self._leave(tenant)  # it was ours already
            else:
                self._forget(tenant, turn)
                self._next()
            if isinstance(e, TimeoutError):
                raise self._busy(503, "no-turn", f"no slot was free for {self._patience:g} s") from None
            raise

    def _take(self, tenant: str) -> None:
        self.running += 1
        self._of[tenant] = self._of.get(tenant, 0) + 1

    def _leave(self, tenant: str) -> None:
        self._ends.append(time.monotonic())
        self.running -= 1
        self._of[tenant] -= 1
        if not self._of[tenant]:
            del self._of[tenant]
        self._next()

    def _forget(self, tenant: str, turn: asyncio.Future[None]) -> None:
        line = self._lines.get(tenant)
        if line and turn in line:
            line.remove(turn)
            self.waiting -= 1
            if not line:
                del self._lines[tenant], self._shares[tenant]

    def _next(self) -> None:
        while self.running < self._most and self._give_one():
            pass

    def _give_one(self) -> bool:
        """Whether somebody got a slot: the first of the tenant whose turn it is."""
        for tenant in list(self._lines):
            share = self._shares[tenant]
            if share is not None and self._of.get(tenant, 0) >= share:
                continue
            line = self._lines.pop(tenant)
            given = False
            while line and not given:
                turn = line.popleft()
                self.waiting -= 1
                if not turn.done():  # else who waited was cancelled, and has not come to tell
                    self._take(tenant)
                    turn.set_result(None)
                    given = True
            if line:
                self._lines[tenant] = line  # behind the others
            else:
                del self._shares[tenant]
            if given:
                return True
        return False

    def _busy(self, status: int, kind: str, detail: str) -> Problem:
        return Problem(status, kind, detail, retry=self.retry_after())

    def retry_after(self) -> int:
        """Seconds, by how quickly programs ended lately; not the same for all, or all come back at once."""
        now = time.monotonic()
        ends = sum(now - end < _LATELY for end in self._ends)
        since = now - self._ends[-ends] if ends else 0.0
        rate = ends / max(since, 0.1) if ends > 1 else 1.0
        seconds = (self.waiting + 1) / rate * random.uniform(1, 1.5)  # noqa: S311
        return max(1, min(_LONGEST, round(seconds)))
