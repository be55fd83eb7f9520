"""Sessions and boxes that clients keep: `Places`, each of one tenant, and gone when nobody uses it any more."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pyjail import Jail, JailError, KeeperError, Limits, Snapshot, aio
from pyjail.serve import config as configs
from pyjail.serve import leaving
from pyjail.serve.config import Config, Token
from pyjail.serve.engine import Engine
from pyjail.serve.job import Job, Outcome
from pyjail.serve.piped import Watcher
from pyjail.serve.problem import Problem
from pyjail.serve.within import Inside

_OFTEN = 0.5  # seconds between two looks at who is still used
_DISK = 256 << 20  # where there is no limit of that
_REMEMBERED = 1000  # that were closed
_READING = 2  # files that are read out of them at once, each of which takes twice its size then


@dataclass(frozen=True)
class Taken:
    """A snapshot of one, and the bytes of memory that it takes, about. ``at``: seconds since the epoch."""

    snapshot: Snapshot
    size: int
    at: float


class Place:
    """A session, whose programs run one after the other, or a box, whose programs run side by side.

    Attributes:
        id, tenant, kind: "session" or "box". state: "open", "lost" or "closed". steps: programs that it has run.
        ttl: seconds that it may stay unused. limits: of a program that names none. jail: of its programs.
        using: programs and file requests that are there now. snapshots: by their names. cpu_time: of its programs and
            compilers that have ended, in s. memory_peak: bytes, of the one that had most; None: none has told any.
    """

    def __init__(self, kind: str, tenant: str, jail: Jail, limits: Limits, ttl: float, lifetime: float) -> None:
        self.id, self.tenant, self.kind, self.ttl, self.limits = secrets.token_hex(16), tenant, kind, ttl, limits
        self.jail, self.state, self.steps, self.using = jail, "open", 0, 0
        self.cpu_time = 0.0
        self.memory_peak: int | None = None
        self.snapshots: dict[str, Taken] = {}
        self.disk = disk(limits)
        self.used = time.monotonic()
        self._over = self.used + lifetime
        self._lock = asyncio.Lock()
        self.made: aio.Session | aio.Box
        if kind == "box":
            self.made = aio.Box(jail, limits, disk=self.disk, inodes=limits.inodes or 65536)
        else:
            self.made = aio.Session(jail, limits=limits, disk=limits.disk, inodes=limits.inodes)

    @property
    def left(self) -> float:
        """Seconds until it goes, if nobody uses it."""
        now = time.monotonic()
        return max(0.0, min(self.ttl if self.using else self.ttl - (now - self.used), self._over - now))

    @property
    def due(self) -> bool:
        """Whether it is to go now, whoever uses it; or nobody does, for too long."""
        return time.monotonic() >= self._over or (not self.using and (self.left <= 0 or self.state == "lost"))

    def touch(self) -> None:
        """It is used now. Raises `Problem` 409 when it is there no more."""
        if self.state != "open":
            raise _over(self)
        self.used = time.monotonic()

    @contextmanager
    def there(self) -> Iterator[aio.Session | aio.Box]:
        """What it is, to be looked at. Raises `Problem` 409 when it is there no more."""
        if self.state != "open":
            raise _over(self)
        try:
            yield self.made
        except KeeperError:
            if self.state == "open":
                self.state = "lost"
            raise _over(self) from None

    @contextmanager
    def in_use(self) -> Iterator[aio.Session | aio.Box]:
        """The same, which is used for as long as the block lasts."""
        self.touch()
        self.using += 1
        try:
            with self.there() as made:
                yield made
        finally:
            self.using -= 1
            self.used = time.monotonic()

    @asynccontextmanager
    async def alone(self, patience: float) -> AsyncIterator[None]:
        """A block in which no other program of a session runs; those of a box may. Raises `Problem` 409 when others
        have run in it for too long."""
        if self.kind == "box":
            yield
            return
        try:
            async with asyncio.timeout(patience):
                await self._lock.acquire()
        except TimeoutError:
            raise Problem(409, "busy", "another program of this session runs", retry=1) from None
        try:
            self.touch()
            yield
        finally:
            self._lock.release()

    async def run(
        self, engine: Engine, job: Job, token: Token | None, patience: float, watcher: Watcher | None, orphans: str
    ) -> Outcome:
        """One program. A client that goes ends it, and nothing else. Raises `Problem` 409 when there is nothing to run
        it in, or others have run in it for too long."""
        inside = Inside(self.made, self.jail, self.limits, orphans)
        with self.in_use():
            async with self.alone(patience):
                return await self._step(engine, inside, job, token, watcher)

    async def _step(
        self, engine: Engine, inside: Inside, job: Job, token: Token | None, watcher: Watcher | None
    ) -> Outcome:
        self.steps += 1
        outcome = await engine.step(inside, job, self.tenant, token, watcher=watcher)
        self.made.results.clear()  # whoever asked has it
        for result in filter(None, (outcome.compile, outcome.result)):
            self.cpu_time += result.usage.cpu_time or 0.0
            self.memory_peak = max(self.memory_peak or 0, result.usage.memory_peak or 0) or None
        if self.state != "open" and outcome.result is not None and outcome.result.verdict == "jail_error":
            raise _over(self)  # it was closed meanwhile
        return outcome

    async def close(self) -> None:
        """All that runs in it is gone when this returns."""
        if self.state != "closed":
            self.state = "closed"
            self.snapshots.clear()
            with suppress(JailError):
                await self.made.close()


def disk(limits: Limits) -> int:
    """Bytes that the files of one with these limits may have."""
    return limits.disk or _DISK


class Places:
    """All of them."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self._config, self._engine = config, engine
        self._all: dict[str, Place] = {}
        self._closed: dict[str, Place] = {}
        self._tending: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self.reading = asyncio.Semaphore(_READING)
        self.taking = asyncio.Semaphore(1)  # one snapshot at a time: how large it is shows when it is there

    @property
    def bounds(self) -> configs.Places:
        """Of the configuration."""
        return self._config.places

    @property
    def patience(self) -> float:
        """Seconds for which one waits for his turn."""
        return self._config.admission.patience

    def open(self, kind: str, tenant: str, jail: Jail, limits: Limits, ttl: float) -> Place:
        """A new one. Raises `Problem` 429 or 503 when there are enough."""
        bounds = self.bounds
        self.room(tenant)
        self._fits(tenant, disk(limits))
        place = Place(kind, tenant, jail, limits, ttl, bounds.lifetime)
        self._all[place.id] = place
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend())
        return place

    def room(self, tenant: str) -> None:
        """Raises `Problem` 429 or 503 when there are enough."""
        bounds = self.bounds
        if self._engine.turns.draining:
            raise Problem(503, "draining", "the service is being ended", retry=5)
        if len(self.of(tenant)) >= bounds.share:
            why = f"{bounds.share} sessions and boxes of this tenant are open already"
            raise Problem(429, "share-full", why, hint="close one; share in [serve.places]", retry=30)
        if len(self._all) >= bounds.count:
            raise Problem(503, "places-full", f"{bounds.count} sessions and boxes are open already", retry=30)

    def _fits(self, tenant: str, size: int) -> None:
        """Raises `Problem` 429 or 503 when there would be too many bytes of files: they lie in memory, also while
        nothing runs."""
        most = self.bounds.disk
        hint = "close one, or ask for less limits.disk; disk in [serve.places]"
        if sum(p.disk for p in self.of(tenant)) + size > most // 2:
            why = f"sessions and boxes of this tenant may have {most // 2} bytes of files together"
            raise Problem(429, "share-full", why, field="limits.disk", hint=hint, retry=30)
        if sum(p.disk for p in self._all.values()) + size > most:
            why = f"sessions and boxes may have {most} bytes of files together"
            raise Problem(503, "places-full", why, field="limits.disk", hint=hint, retry=30)

    def of(self, tenant: str, kind: str = "") -> list[Place]:
        """Those that this tenant has open now, the oldest first."""
        return [p for p in self._all.values() if p.tenant == tenant and kind in ("", p.kind)]

    def snapshots(self, tenant: str | None = None) -> int:
        """Bytes of memory that all of them take, or this tenant's."""
        places = self._all.values() if tenant is None else self.of(tenant)
        return sum(taken.size for place in places for taken in place.snapshots.values())

    def get(self, kind: str, id: str, tenant: str) -> Place:
        """Raises `Problem` 404."""
        place = self._all.get(id) or self._closed.get(id)
        if place is None or place.kind != kind or place.tenant != tenant:
            raise Problem(404, "not-found", f"there is no such {kind}")
        return place

    async def run(
        self, place: Place, job: Job, token: Token | None, watcher: Watcher | None = None, orphans: str = "kill"
    ) -> Outcome:
        """See `Place.run`."""
        return await place.run(self._engine, job, token, self.patience, watcher, orphans)

    async def close(self, place: Place) -> None:
        """See `Place.close`."""
        if self._all.pop(place.id, None) is not None:
            self._closed[place.id] = place
            while len(self._closed) > _REMEMBERED:
                del self._closed[next(iter(self._closed))]
        await place.close()

    def drain(self) -> None:
        """From now on those go that nobody uses."""
        self._ending.set()

    async def end(self) -> None:
        """None is left."""
        if self._tending is not None:
            await leaving.ended(self._tending)
        await asyncio.gather(*map(self.close, list(self._all.values())), return_exceptions=True)

    async def _tend(self) -> None:
        while True:
            ending = self._ending.is_set()
            due = [p for p in list(self._all.values()) if p.due or (ending and not p.using)]
            await asyncio.gather(*map(self.close, due), return_exceptions=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(_OFTEN):
                    await (asyncio.sleep(_OFTEN) if ending else self._ending.wait())


def told(place: Place) -> dict[str, Any]:
    """As JSON."""
    return {
        "id": place.id, "kind": place.kind, "state": place.state, "steps": place.steps, "running": place.using,
        "ttl": place.ttl, "expires_in": round(place.left, 3) if place.state == "open" else 0,
        "cpu_time": round(place.cpu_time, 6), "memory_peak": place.memory_peak,
    }  # fmt: skip


def _over(place: Place) -> Problem:
    return Problem(409, "state", f"the {place.kind} is {place.state}", hint="open a new one")
