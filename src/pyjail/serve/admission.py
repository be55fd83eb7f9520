"""Whose turn it is: a fixed number of slots, a bounded queue, fair among tenants."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from typing import Any

from pyjail.serve import watch
from pyjail.serve.config import Admission, Token
from pyjail.serve.problem import Problem

_RECENT = 64  # ends that the rate is measured by
_LATELY = 30.0  # seconds in which they were
_LONGEST = 60  # seconds of Retry-After
_Turn = tuple[asyncio.Future[None], int]  # and how many slots it is for


class Slot:
    """See `Turns.slot`."""

    def __init__(self, turns: Turns, tenant: str, token: Token | None, patient: bool, count: int) -> None:
        self._turns, self._asked = turns, (tenant, token, patient, count)
        self._task: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> float:
        self._task = task = asyncio.current_task()
        assert task is not None
        began = time.monotonic()
        self._turns._begin(task)
        try:
            await self._turns._enter(*self._asked)
        except BaseException as e:
            self._turns._end(task, e)
            raise
        return time.monotonic() - began

    async def __aexit__(self, kind: object, e: BaseException | None, trace: object) -> None:
        assert self._task is not None
        tenant, _, _, count = self._asked
        given = self._turns._leave(tenant, count)
        self._turns._end(self._task, e)
        if given and e is None:
            await asyncio.sleep(0)  # the next program starts before anybody looks at what came of this one


class Turns:
    """Slots for programs. Those of one tenant wait in the order in which they came; tenants take turns.

    Attributes: ``running`` and ``waiting`` count; while ``draining`` nobody new has a turn.
    """

    def __init__(self, admission: Admission) -> None:
        self._most, self._queue, self._patience = admission.concurrent, admission.queue, admission.patience
        self.running = self.waiting = 0
        self._coming = 0  # requests that were let in, and have not come here yet
        self._of: dict[str, int] = {}  # running programs of each tenant
        self._shares: dict[str, int | None] = {}
        self._lines: dict[str, deque[_Turn]] = {}  # in the order of whose turn is next
        self._large = 0  # of those who wait, those that need several slots
        self._ends: deque[float] = deque(maxlen=_RECENT)
        self.draining = False
        self._inside: set[asyncio.Task[Any]] = set()  # that have a slot, or wait for one
        self._ended: set[asyncio.Task[Any]] = set()  # of these, those that `end` cancelled
        self._left = asyncio.Event()

    def slot(self, tenant: str, token: Token | None = None, *, patient: bool = False, count: int = 1) -> Slot:
        """A slot while the block lasts, or ``count`` of them, all at once: the seconds that it was waited for. Raises
        `Problem` 429 or 503, not to who is ``patient``, as long as the service is not being ended; 422 where there are
        not so many slots."""
        return Slot(self, tenant, token, patient, count)

    def _begin(self, task: asyncio.Task[Any]) -> None:
        """From now on `end` cancels this task."""
        self._inside.add(task)
        watch.current.get().turn = True

    def _end(self, task: asyncio.Task[Any], e: BaseException | None) -> None:
        """Not any more. Raises `Problem` 503 if it did, and nobody else."""
        ended = task in self._ended
        self._inside.discard(task)
        self._ended.discard(task)
        if not self._inside:
            self._left.set()
        if ended and isinstance(e, asyncio.CancelledError) and not task.uncancel():
            raise self._busy(503, "ended", "the service was ended before this was") from None

    @property
    def crowded(self) -> bool:
        """Whether the queue will be full when all are here that were let in."""
        return self.waiting + self._coming >= self._queue

    def expect(self, seen: watch.Watch) -> None:
        """This request will come for a slot, or end."""
        self._coming += not seen.coming
        seen.coming = True

    def came(self) -> None:
        """It has."""
        seen = watch.current.get()
        self._coming -= seen.coming
        seen.coming = False

    def refusal(self, tenant: str, token: Token | None = None, count: int = 1, early: bool = False) -> Problem | None:
        """Why who comes now for so many slots would not even wait. None: they are free, or the queue has room."""
        if self.draining:
            return self._busy(503, "draining", "the service is being ended")
        if self._free(tenant, token, count):
            return None
        if self.crowded if early else self.waiting >= self._queue:
            return self._busy(503, "queue-full", "the queue is full")
        if token and token.queue is not None and len(self._lines.get(tenant, ())) >= token.queue:
            return self._busy(429, "share-full", f"{token.queue} requests of this token wait already")
        return None

    def _free(self, tenant: str, token: Token | None, count: int) -> bool:
        """Whether he would have them at once: nobody before him waits for what is free."""
        free = self.running + count <= self._most and not self._kept()
        return free and tenant not in self._lines and self._allowed(tenant, token.concurrent if token else None, count)

    def _kept(self) -> bool:
        """Whether what is free is kept for somebody who needs more, and whose share would allow it."""
        heads = ((tenant, line[0][1]) for tenant, line in self._lines.items()) if self._large else ()
        return any(count > 1 and self._allowed(tenant, self._shares[tenant], count) for tenant, count in heads)

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

    async def _enter(self, tenant: str, token: Token | None, patient: bool, count: int) -> None:
        self.came()
        share = token.concurrent if token else None
        most = self._most if share is None else min(share, self._most)
        if not self.draining and count > most:
            raise Problem(422, "slots", f"at most {most} programs may run at the same time here, not {count}")
        if not self.draining and self._free(tenant, token, count):
            self._take(tenant, count)
            return
        if (not patient or self.draining) and (problem := self.refusal(tenant, token, count)) is not None:
            raise problem
        self._shares[tenant] = share
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tenant, deque()).append((turn, count))
        self._wait(1, count)
        self._next()  # a slot may be free that is kept for nobody
        try:
            async with asyncio.timeout(None if patient else self._patience):
                await turn
        except BaseException as e:
            if turn.done() and not turn.cancelled():
                self._leave(tenant, count)  # it was ours already
            else:
                self._forget(tenant, (turn, count))
                self._next()
            if isinstance(e, TimeoutError) and not self._allowed(tenant, share, count):
                why = f"as many programs of this token as may run at once did so for {self._patience:g} s"
                raise self._busy(429, "share-full", why) from None
            if isinstance(e, TimeoutError):
                raise self._busy(503, "no-turn", f"no slot was free for {self._patience:g} s") from None
            raise

    def _allowed(self, tenant: str, share: int | None, count: int) -> bool:
        return share is None or self._of.get(tenant, 0) + count <= share

    def _take(self, tenant: str, count: int) -> None:
        self.running += count
        self._of[tenant] = self._of.get(tenant, 0) + count

    def _wait(self, by: int, count: int) -> None:
        """One more, or less, waits for so many."""
        self.waiting += by
        self._large += by * (count > 1)

    def _leave(self, tenant: str, count: int) -> bool:
        """Whether somebody has a slot by that."""
        self._ends.append(time.monotonic())
        self.running -= count
        self._of[tenant] -= count
        if not self._of[tenant]:
            del self._of[tenant]
        return self._next()

    def _forget(self, tenant: str, turn: _Turn) -> None:
        line = self._lines.get(tenant)
        if line and turn in line:
            line.remove(turn)
            self._wait(-1, turn[1])
            if not line:
                del self._lines[tenant], self._shares[tenant]

    def _next(self) -> bool:
        given = False
        while self.running < self._most and self._give_one():
            given = True
        return given

    def _give_one(self) -> bool:
        """Whether somebody got what he waits for: the first of the tenant whose turn it is. While that one needs more
        than is free, nobody overtakes him."""
        for tenant in list(self._lines):
            line = self._lines[tenant]
            while line and line[0][0].done():  # who waited was cancelled, and has not come to tell
                self._wait(-1, line.popleft()[1])
            if line and not self._allowed(tenant, self._shares[tenant], line[0][1]):
                continue
            if line and self.running + line[0][1] > self._most:
                return False
            del self._lines[tenant]
            given = bool(line)
            if given:
                turn, count = line.popleft()
                self._wait(-1, count)
                self._take(tenant, count)
                turn.set_result(None)
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
        lately = bool(self._ends) and now - self._ends[0] < _LATELY  # so are all after it
        ends = len(self._ends) if lately else sum(now - end < _LATELY for end in self._ends)
        since = now - self._ends[-ends] if ends else 0.0
        rate = ends / max(since, 0.1) if ends > 1 else 1.0
        seconds = (self.waiting + 1) / rate * random.uniform(1, 1.5)  # noqa: S311
        return max(1, min(_LONGEST, round(seconds)))
