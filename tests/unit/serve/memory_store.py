"""Runs that are fetched later, kept by nothing but this process: what the tests of workers are given."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pyjail.serve.config import Jobs
from pyjail.serve.problem import Problem
from pyjail.serve.sqlite_store import SHORT
from pyjail.serve.store import ENDED, Record, named, over_quota


def _size(record: Record) -> int:
    return len(json.dumps(record.spec)) + len(json.dumps(record.result or ""))


class Memory:
    """A `Store` whose records go with this process: it keeps the promises of the others, and needs no disk."""

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
        mine = [_size(r) for r in self._records.values() if r.tenant == record.tenant]
        if _size(record) > SHORT and sum(size for size in (*mine, _size(record)) if size > SHORT) > self._jobs.total:
            raise over_quota(self._jobs)
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
