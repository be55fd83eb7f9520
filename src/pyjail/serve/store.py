"""Runs that are fetched later: what keeps them (`Store`), as one keeps them that needs no disk (`Memory`)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pyjail.serve.config import Jobs
from pyjail.serve.problem import Problem

ENDED = frozenset(("done", "cancelled", "lost"))
_NAMED = re.compile(r'"sha256": ?"([0-9a-f]{64})"')


@dataclass(frozen=True)
class Record:
    """A run that somebody will ask for.

    Attributes:
        id: 32 hex digits. tenant: whose it is. spec: what is asked for, in types of JSON: {"kind": "run", "body": ...};
            with "awaited": true, whose client learns the id with the result. Neither of these is waited for to be on
            the disk: that is so within a minute.
        state: "queued", "running", "done", "cancelled" or "lost". result: of JSON, when it is done. reason: why it is
            lost. attempts: how often it was claimed. created, ended, expires: seconds since the epoch; 0: not yet.
    """

    id: str
    tenant: str
    spec: Mapping[str, Any]
    state: str = "queued"
    result: Mapping[str, Any] | None = None
    reason: str = ""
    attempts: int = 0
    created: float = 0.0
    ended: float = 0.0
    expires: float = 0.0

    @property
    def sure(self) -> bool:
        """Whether its coming and its end are to outlast the machine's power before anybody is told."""
        return not self.spec.get("awaited")


class Store(Protocol):
    """Keeps records; whoever claims one does it at least once. Raises `Problem` 507 or 503 where there is no room."""

    async def submit(self, record: Record, key: str = "", digest: str = "") -> tuple[Record, bool]:
        """Keep it: (what is kept, True). The tenant has used this ``key`` before: the record of then and False; or
        `Problem` 422 where the ``digest`` of what was asked is another one."""

    async def claim(self, worker: str) -> Record | None:
        """The one that waits longest, now running and the worker's for the time of a lease; None: none waits. Those of
        dead workers wait again, or are lost when that has happened too often."""

    async def beat(self, id: str, worker: str) -> bool:
        """Begin the lease anew. False: it is not this worker's any more (cancelled, or thought dead)."""

    async def finish(self, id: str, worker: str, result: Mapping[str, Any], sure: bool = True) -> bool:
        """Done, with this result. False as `beat`: the result is thrown away. ``sure``: see `Record`."""

    async def release(self, id: str, worker: str) -> bool:
        """Let it wait again, as if it had not been claimed: this worker is about to end. False as `beat`."""

    async def get(self, id: str, tenant: str) -> Record | None:
        """None: there is none, or it is another tenant's."""

    async def listed(self, tenant: str, kind: str, skip: int, most: int) -> tuple[list[str], int]:
        """Ids of this tenant's whose spec has this ``kind``, the newest first, at most so many of them after so many
        others; and how many there are in all."""

    async def cancel(self, id: str, tenant: str) -> Record | None:
        """Cancelled, unless it has ended: the record then. None as `get`."""

    async def named(self) -> dict[str, set[str]]:
        """Digests of files that runs name which have not ended, of each tenant; perhaps others besides."""

    async def drop(self, id: str, tenant: str) -> bool:
        """Keep it no more, if it has ended. False: it has not; or as None of `get`."""

    async def expire(self) -> int:
        """Drop those whose time is over: how many. All else is on the disk then."""

    async def close(self) -> None:
        """Nothing else is called afterwards."""


class Memory:
    """A `Store` whose records go with this process."""

    def __init__(self, jobs: Jobs, most: int = 10_000, clock: Callable[[], float] = time.time) -> None:
        self._jobs, self._most, self._clock = jobs, most, clock
        self._records: dict[str, Record] = {}  # in the order of coming
        self._leases: dict[str, tuple[str, float]] = {}
        self._keys: dict[tuple[str, str], tuple[str, str]] = {}  # (tenant, key): id, digest

    async def submit(self, record: Record, key: str = "", digest: str = "") -> tuple[Record, bool]:
        """See `Store.submit`."""
        known = self._keys.get((record.tenant, key)) if key else None
        if known is not None and known[0] in self._records:
            if known[1] != digest:
                why = "this Idempotency-Key was used for another request"
                raise Problem(422, "idempotency", why, field="Idempotency-Key")
            return self._records[known[0]], False
        if len(self._records) >= self._most:
            await self.expire()
        if len(self._records) >= self._most:
            raise Problem(503, "store-full", f"{self._most} runs are kept already", retry=60)
        now = self._clock()
        kept = replace(record, created=now, expires=now + self._jobs.keep)
        self._records[record.id] = kept
        if key:
            self._keys[record.tenant, key] = record.id, digest
        return kept, True

    async def claim(self, worker: str) -> Record | None:
        """See `Store.claim`."""
        now = self._clock()
        for id, (_, until) in list(self._leases.items()):
            if until < now:
                self._lapse(id)
        for record in self._records.values():
            if record.state == "queued":
                self._leases[record.id] = worker, now + self._jobs.lease
                return self._set(record.id, state="running", attempts=record.attempts + 1)
        return None

    def _lapse(self, id: str) -> None:
        del self._leases[id]
        record = self._records[id]
        if record.attempts >= self._jobs.attempts:
            self._end(id, "lost", reason=f"its worker died {record.attempts} times")
        else:
            self._set(id, state="queued")

    async def beat(self, id: str, worker: str) -> bool:
        """See `Store.beat`."""
        if not self._mine(id, worker):
            return False
        self._leases[id] = worker, self._clock() + self._jobs.lease
        return True

    async def finish(self, id: str, worker: str, result: Mapping[str, Any], sure: bool = True) -> bool:
        """See `Store.finish`."""
        if not self._mine(id, worker):
            return False
        self._end(id, "done", result=result)
        return True

    async def release(self, id: str, worker: str) -> bool:
        """See `Store.release`."""
        if not self._mine(id, worker):
            return False
        del self._leases[id]
        self._set(id, state="queued", attempts=self._records[id].attempts - 1)
        return True

    async def get(self, id: str, tenant: str) -> Record | None:
        """See `Store.get`."""
        record = self._records.get(id)
        return record if record is not None and record.tenant == tenant else None

    async def listed(self, tenant: str, kind: str, skip: int, most: int) -> tuple[list[str], int]:
        """See `Store.listed`."""
        found = [r.id for r in self._records.values() if r.tenant == tenant and r.spec.get("kind") == kind]
        return found[::-1][skip : skip + most], len(found)

    async def cancel(self, id: str, tenant: str) -> Record | None:
        """See `Store.cancel`."""
        record = await self.get(id, tenant)
        if record is None or record.state in ENDED:
            return record
        return self._end(id, "cancelled")

    async def named(self) -> dict[str, set[str]]:
        """See `Store.named`."""
        return named((r.tenant, json.dumps(r.spec)) for r in self._records.values() if r.state not in ENDED)

    async def drop(self, id: str, tenant: str) -> bool:
        """See `Store.drop`."""
        record = await self.get(id, tenant)
        if record is None or record.state not in ENDED:
            return False
        del self._records[id]
        return True

    async def expire(self) -> int:
        """See `Store.expire`."""
        now = self._clock()
        over = [r.id for r in self._records.values() if r.state in ENDED and r.expires < now]
        for id in over:
            del self._records[id]
        self._keys = {key: value for key, value in self._keys.items() if value[0] in self._records}
        return len(over)

    async def close(self) -> None:
        """See `Store.close`."""

    def _mine(self, id: str, worker: str) -> bool:
        return self._leases.get(id, ("",))[0] == worker

    def _end(self, id: str, state: str, **more: Any) -> Record:
        self._leases.pop(id, None)
        now = self._clock()
        return self._set(id, state=state, ended=now, expires=now + self._jobs.keep, **more)

    def _set(self, id: str, **changes: Any) -> Record:
        self._records[id] = made = replace(self._records[id], **changes)
        return made


def beginning(kind: str) -> str:
    """Of specs of this kind as JSON without spaces, up to their first comma."""
    return json.dumps({"kind": kind}, separators=(",", ":"))[:-1]


def named(specs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Of (tenant, spec as JSON): the digests that are named there as those of files."""
    found: dict[str, set[str]] = {}
    for tenant, spec in specs:
        if digests := _NAMED.findall(spec):
            found.setdefault(tenant, set()).update(digests)
    return found
