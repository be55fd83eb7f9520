"""Sessions and boxes that clients keep: `Places`, each of one tenant, and gone when nobody uses it any more."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pyjail import JailError, KeeperError, Limits, aio
from pyjail.serve import leaving
from pyjail.serve.config import Config, Token
from pyjail.serve.engine import Engine
from pyjail.serve.job import Job, Outcome
from pyjail.serve.problem import Problem

LONGEST = 3600.0  # seconds that one may stay unused
MOST, MOST_OF_TENANT = 32, 8
_REMEMBERED = 1000  # that were closed


class Place:
    """A session, whose programs run one after the other, or a box, whose programs run side by side.

    Attributes:
        id, tenant, kind: "session" or "box". state: "open", "lost" or "closed". steps: programs that it has run.
        ttl: seconds that it may stay unused. limits: of a program that names none.
    """

    def __init__(self, kind: str, tenant: str, config: Config, limits: Limits, ttl: float) -> None:
        self.id, self.tenant, self.kind, self.ttl, self.limits = secrets.token_hex(16), tenant, kind, ttl, limits
        self.state, self.steps, self.using = "open", 0, 0
        self.used = time.monotonic()
        self._lock = asyncio.Lock()
        self._made: aio.Session | aio.Box
        if kind == "box":
            self._made = aio.Box(config.jail, limits, disk=limits.disk or "256M", inodes=limits.inodes or 65536)
        else:
            self._made = aio.Session(config.jail, limits=limits, disk=limits.disk, inodes=limits.inodes)

    @property
    def left(self) -> float:
        """Seconds until it goes, if nobody uses it."""
        return self.ttl if self.using else max(0.0, self.ttl - (time.monotonic() - self.used))

    async def run(self, engine: Engine, job: Job, token: Token | None, patience: float) -> Outcome:
        """One program. A client that goes ends it; a session is lost then, a box is not. Raises `Problem` 409 when
        there is nothing to run it in, or others have run in it for too long."""
        self.using += 1
        try:
            if self.kind == "box":
                return await self._step(engine, job, token)
            try:
                async with asyncio.timeout(patience):
                    await self._lock.acquire()
            except TimeoutError:
                raise Problem(409, "busy", "another program of this session runs", retry=1) from None
            try:
                return await self._step(engine, job, token)
            except asyncio.CancelledError:
                self.state = "lost"
                raise
            finally:
                self._lock.release()
        except KeeperError:
            self.state = "lost"
            raise _over(self) from None
        finally:
            self.using -= 1
            self.used = time.monotonic()

    async def _step(self, engine: Engine, job: Job, token: Token | None) -> Outcome:
        if self.state != "open":
            raise _over(self)
        self.steps += 1
        outcome = await engine.step(self._made, job, self.tenant, token)
        self._made.results.clear()  # whoever asked has it
        return outcome

    async def close(self) -> None:
        """All that runs in it is gone when this returns."""
        if self.state != "closed":
            self.state = "closed"
            with suppress(JailError):
                await self._made.close()


class Places:
    """All of them."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self._config, self._engine = config, engine
        self._all: dict[str, Place] = {}
        self._closed: dict[str, Place] = {}
        self._tending: asyncio.Task[None] | None = None

    def open(self, kind: str, tenant: str, limits: Limits, ttl: float) -> Place:
        """A new one. Raises `Problem` 429 or 503 when there are enough."""
        if self._engine.turns.draining:
            raise Problem(503, "draining", "the service is being ended", retry=5)
        if sum(place.tenant == tenant for place in self._all.values()) >= MOST_OF_TENANT:
            raise Problem(429, "share-full", f"{MOST_OF_TENANT} sessions and boxes are open already", retry=30)
        if len(self._all) >= MOST:
            raise Problem(503, "places-full", f"{MOST} sessions and boxes are open already", retry=30)
        place = Place(kind, tenant, self._config, limits, ttl)
        self._all[place.id] = place
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend())
        return place

    def get(self, kind: str, id: str, tenant: str) -> Place:
        """Raises `Problem` 404."""
        place = self._all.get(id) or self._closed.get(id)
        if place is None or place.kind != kind or place.tenant != tenant:
            raise Problem(404, "not-found", f"there is no such {kind}")
        return place

    async def run(self, place: Place, job: Job, token: Token | None) -> Outcome:
        """See `Place.run`."""
        return await place.run(self._engine, job, token, self._config.admission.patience)

    async def close(self, place: Place) -> None:
        """See `Place.close`."""
        if self._all.pop(place.id, None) is not None:
            self._closed[place.id] = place
            while len(self._closed) > _REMEMBERED:
                del self._closed[next(iter(self._closed))]
        await place.close()

    async def end(self) -> None:
        """None is left."""
        if self._tending is not None:
            await leaving.ended(self._tending)
        for place in list(self._all.values()):
            await self.close(place)

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            for place in list(self._all.values()):
                if not place.using and (place.left <= 0 or place.state == "lost"):
                    await self.close(place)


def job_in(place: Place, job: Job) -> Job:
    """The same as a program of that place: its disk is the place's."""
    return replace(job, limits=replace(job.limits, disk=place.limits.disk, inodes=place.limits.inodes))


def told(place: Place) -> dict[str, Any]:
    """As JSON."""
    return {
        "id": place.id, "kind": place.kind, "state": place.state, "steps": place.steps, "ttl": place.ttl,
        "expires_in": round(place.left, 3) if place.state == "open" else 0,
    }  # fmt: skip


def _over(place: Place) -> Problem:
    return Problem(409, "state", f"the {place.kind} is {place.state}", hint="open a new one")
