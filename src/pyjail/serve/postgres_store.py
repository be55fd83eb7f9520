"""Runs that several services share: `Postgres`, a store in a PostgreSQL database, whose queue is procrastinate's.

Needs the extra ``serve-postgres``. A run is a row of ``pyjail_runs``; that it waits is a job of procrastinate, which
says whose turn it is. Both change in one transaction, so a death at any step leaves them as they were before it.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

import psycopg
import psycopg_pool
from procrastinate import PsycopgConnector, exceptions
from procrastinate.jobs import Job
from procrastinate.manager import JobManager
from procrastinate.schema import SchemaManager
from procrastinate.sql import queries
from psycopg.rows import dict_row

from pyjail.serve.config import Jobs
from pyjail.serve.problem import Problem
from pyjail.serve.sqlite_store import MOST, SHORT, WAITING
from pyjail.serve.store import ENDED, Record, beginning, named, over_quota

QUEUE = TASK = "pyjail"
_ROWS = {"row_factory": dict_row}
_LOCK = 0x70796A61  # of whoever makes the tables
SCHEMA = """
CREATE TABLE IF NOT EXISTS pyjail_runs (
  id text PRIMARY KEY, tenant text NOT NULL, state text NOT NULL, created double precision NOT NULL,
  ended double precision NOT NULL DEFAULT 0, expires double precision NOT NULL, attempts integer NOT NULL DEFAULT 0,
  worker text NOT NULL DEFAULT '', lease_until double precision NOT NULL DEFAULT 0,
  idem_key text, idem_digest text NOT NULL DEFAULT '', reason text NOT NULL DEFAULT '',
  spec text NOT NULL, result text, job bigint, UNIQUE (tenant, idem_key),
  bytes bigint GENERATED ALWAYS AS (octet_length(spec) + octet_length(coalesce(result, ''))) STORED
);
CREATE INDEX IF NOT EXISTS pyjail_runs_running ON pyjail_runs (lease_until) WHERE state = 'running';
CREATE INDEX IF NOT EXISTS pyjail_runs_waiting ON pyjail_runs (tenant) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS pyjail_runs_job ON pyjail_runs (job);
CREATE INDEX IF NOT EXISTS pyjail_runs_expires ON pyjail_runs (expires);
CREATE INDEX IF NOT EXISTS pyjail_runs_bytes ON pyjail_runs (tenant, bytes) WHERE bytes > 4096;
CREATE INDEX IF NOT EXISTS pyjail_runs_kinds ON pyjail_runs (tenant, split_part(left(spec, 100), ',', 1), created, id);
"""
_SUBMIT = """
INSERT INTO pyjail_runs (id, tenant, state, created, expires, spec, idem_key, idem_digest)
VALUES (%(id)s, %(tenant)s, 'queued', %(now)s, %(expires)s, %(spec)s, nullif(%(key)s, ''), %(digest)s)
ON CONFLICT (tenant, idem_key) DO NOTHING RETURNING id
"""
_LAPSE = """
UPDATE pyjail_runs SET worker = '', state = CASE WHEN attempts >= %(most)s THEN 'lost' ELSE 'queued' END,
  reason = CASE WHEN attempts >= %(most)s THEN 'its worker died ' || attempts || ' times' ELSE '' END,
  ended = CASE WHEN attempts >= %(most)s THEN %(now)s ELSE 0 END,
  expires = CASE WHEN attempts >= %(most)s THEN %(now)s + %(keep)s ELSE expires END
WHERE id IN (SELECT id FROM pyjail_runs WHERE state = 'running' AND lease_until < %(now)s FOR UPDATE SKIP LOCKED)
RETURNING job, state
"""
_CLAIM = """
UPDATE pyjail_runs SET state = 'running', worker = %(worker)s, lease_until = %(until)s, attempts = attempts + 1
WHERE job = %(job)s AND state = 'queued' RETURNING *
"""
_CANCEL = """
UPDATE pyjail_runs SET state = 'cancelled', worker = '', ended = %(now)s, expires = %(now)s + %(keep)s
WHERE id = %(id)s RETURNING *
"""
_DONE = "state = 'done', worker = '', ended = %(now)s, expires = %(now)s + %(keep)s, result = %(result)s"
_WAITS = "state = 'queued', worker = '', attempts = attempts - 1"
_KIND = "FROM pyjail_runs WHERE tenant = %(tenant)s AND split_part(left(spec, 100), ',', 1) = %(kind)s"
_LISTED = f"SELECT id {_KIND} ORDER BY created DESC, id DESC LIMIT %(count)s OFFSET %(skip)s"
_COUNTED = f"SELECT count(*) AS n {_KIND}"
_KEPT = "SELECT coalesce(sum(bytes), 0) AS n FROM pyjail_runs WHERE tenant = %(tenant)s AND bytes > 4096"  # as `SHORT`
_NAMED = """
SELECT tenant, spec FROM pyjail_runs WHERE state IN ('queued', 'running') AND strpos(spec, '"sha256":') > 0
"""
_DROP = (
    "DELETE FROM pyjail_runs WHERE id = %(id)s AND tenant = %(tenant)s AND state IN ('done', 'cancelled', 'lost')"
    " RETURNING id"
)
_EXPIRE = "DELETE FROM pyjail_runs WHERE state IN ('done', 'cancelled', 'lost') AND expires < %(now)s"

Connection: TypeAlias = "psycopg.AsyncConnection[dict[str, Any]]"


class Postgres:
    """A `Store` that others use at the same time; made by `open`."""

    def __init__(self, connector: PsycopgConnector, jobs: Jobs, most: int, clock: Callable[[], float]) -> None:
        self._connector, self._jobs, self._most, self._clock = connector, jobs, most, clock
        self._queue = JobManager(connector)

    @classmethod
    async def open(cls, jobs: Jobs, most: int = MOST, clock: Callable[[], float] = time.time) -> Postgres:
        """One at ``jobs.postgres``, with its tables. Raises `Problem` 503 where nothing answers there."""
        connector = PsycopgConnector(conninfo=jobs.postgres, min_size=1, max_size=4, timeout=10, kwargs=_ROWS)
        made = cls(connector, jobs, most, clock)
        try:
            await connector.open_async()  # waits for a first connection, half a minute at most
            async with made._whole() as db:
                await db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                found = await (await db.execute("SELECT to_regclass('procrastinate_jobs') AS there")).fetchone()
                if found is None or found["there"] is None:
                    await db.execute(SchemaManager.get_schema())
                await db.execute(SCHEMA)
        except (Problem, exceptions.ConnectorException, psycopg.Error):
            await connector.close_async()
            raise Problem(503, "store", "the database of runs does not answer") from None
        return made

    async def submit(self, record: Record, key: str = "", digest: str = "") -> tuple[Record, bool]:
        """See `Store.submit`."""
        spec = _text(record.spec)
        values = {
            "id": record.id, "tenant": record.tenant, "spec": spec, "key": key, "digest": digest,
            "expires": self._clock() + self._jobs.keep,
        }  # fmt: skip
        async with self._whole(record.sure) as db:
            if await self._one(db, _SUBMIT, **values) is None:
                found = await self._one(
                    db, "SELECT * FROM pyjail_runs WHERE tenant = %(tenant)s AND idem_key = %(key)s", **values
                )
                if found is None or found["idem_digest"] != digest:
                    why = "this Idempotency-Key was used for another request"
                    raise Problem(422, "idempotency", why, field="Idempotency-Key")
                return _record(found), False
            await self._room(db, record.tenant, len(spec))
            job = await self._queue.defer_job_async(
                Job(id=None, queue=QUEUE, lock=None, queueing_lock=None, task_name=TASK, task_kwargs={"id": record.id}),
                connection=db,
            )
            made = await self._one(
                db, "UPDATE pyjail_runs SET job = %(job)s WHERE id = %(id)s RETURNING *", job=job.id, id=record.id
            )
        assert made is not None
        return _record(made), True

    async def _room(self, db: Connection, tenant: str, size: int) -> None:
        asked = "SELECT count(*) AS n FROM pyjail_runs WHERE state = 'queued' AND tenant = %(tenant)s"
        waiting = await self._one(db, asked, tenant=tenant)
        if waiting is not None and waiting["n"] > WAITING:
            raise Problem(429, "share-full", f"{WAITING} runs of this tenant wait already", retry=60)
        kept = await self._one(db, _KEPT, tenant=tenant) if size > SHORT else None
        if kept is not None and kept["n"] > self._jobs.total:
            raise over_quota(self._jobs)
        for _ in range(2):
            found = await self._one(db, "SELECT count(*) AS n FROM pyjail_runs")
            if found is None or found["n"] <= self._most:
                return
            await db.execute(_EXPIRE, self._times())
        raise Problem(503, "store-full", f"{self._most} runs are kept already", retry=60)

    async def claim(self, worker: str) -> Record | None:
        """See `Store.claim`."""
        async with self._whole() as db:
            for row in await (await db.execute(_LAPSE, self._times())).fetchall():
                await self._wait_again(db, row["job"]) if row["state"] == "queued" else await self._over(db, row["job"])
            while True:
                job = await self._connector.execute_query_one_async_with_connection(
                    db, queries["fetch_job"], queues=[QUEUE], worker_id=None
                )
                if job["id"] is None:
                    return None
                until = self._clock() + self._jobs.lease
                found = await self._one(db, _CLAIM, job=job["id"], worker=worker, until=until)
                if found is not None:
                    return _record(found)
                await self._over(db, job["id"])  # of a run that nobody keeps any more

    async def beat(self, id: str, worker: str) -> bool:
        """See `Store.beat`."""
        until = self._clock() + self._jobs.lease
        async with self._whole() as db:
            return await self._mine(db, id, worker, "lease_until = %(until)s", until=until) is not None

    async def finish(self, id: str, worker: str, result: Mapping[str, Any], sure: bool = True) -> bool:
        """See `Store.finish`. A result lies in the row however long it is: others have to read it, too."""
        async with self._whole(sure) as db:
            found = await self._mine(db, id, worker, _DONE, result=_text(result))
            if found is not None:
                await self._over(db, found["job"])
        return found is not None

    async def release(self, id: str, worker: str) -> bool:
        """See `Store.release`."""
        async with self._whole() as db:
            found = await self._mine(db, id, worker, _WAITS)
            if found is not None:
                await self._wait_again(db, found["job"])
        return found is not None

    async def get(self, id: str, tenant: str) -> Record | None:
        """See `Store.get`."""
        async with self._whole() as db:
            asked = "SELECT * FROM pyjail_runs WHERE id = %(id)s AND tenant = %(tenant)s"
            found = await self._one(db, asked, id=id, tenant=tenant)
        return None if found is None else _record(found)

    async def listed(self, tenant: str, kind: str, skip: int, most: int) -> tuple[list[str], int]:
        """See `Store.listed`."""
        of = {"tenant": tenant, "kind": beginning(kind)}
        async with self._whole() as db:
            found = await db.execute(_LISTED, {**of, "count": most, "skip": skip})
            ids = [row["id"] async for row in found]
            counted = await self._one(db, _COUNTED, **of)
        return ids, counted["n"] if counted else 0

    async def cancel(self, id: str, tenant: str) -> Record | None:
        """See `Store.cancel`."""
        async with self._whole() as db:
            asked = "SELECT * FROM pyjail_runs WHERE id = %(id)s AND tenant = %(tenant)s FOR UPDATE"
            found = await self._one(db, asked, id=id, tenant=tenant)
            if found is not None and found["state"] not in ENDED:
                await self._over(db, found["job"])
                found = await self._one(db, _CANCEL, id=id)
        return None if found is None else _record(found)

    async def named(self) -> dict[str, set[str]]:
        """See `Store.named`."""
        async with self._whole() as db:
            found = await db.execute(_NAMED)
            return named([(row["tenant"], row["spec"]) async for row in found])

    async def drop(self, id: str, tenant: str) -> bool:
        """See `Store.drop`."""
        async with self._whole() as db:
            return await self._one(db, _DROP, id=id, tenant=tenant) is not None

    async def expire(self) -> int:
        """See `Store.expire`."""
        async with self._whole() as db:
            return (await db.execute(_EXPIRE, self._times())).rowcount

    async def close(self) -> None:
        """See `Store.close`."""
        await self._connector.close_async()

    @asynccontextmanager
    async def _whole(self, sure: bool = True) -> AsyncIterator[Connection]:
        """All of the block or none of it. Raises `Problem` 503 where the database does not answer."""
        try:
            async with self._connector.pool.connection() as db:
                if not sure:
                    await db.execute("SET LOCAL synchronous_commit = off")
                yield cast("Connection", db)
        except (psycopg.OperationalError, psycopg_pool.PoolTimeout, exceptions.ConnectorException):
            raise Problem(503, "store", "the database of runs does not answer", retry=5) from None

    async def _one(self, db: Connection, query: str, **values: Any) -> dict[str, Any] | None:
        return await (await db.execute(query.encode(), {**self._times(), **values})).fetchone()

    async def _mine(self, db: Connection, id: str, worker: str, change: str, **values: Any) -> dict[str, Any] | None:
        where = "WHERE id = %(id)s AND worker = %(worker)s AND state = 'running' RETURNING job"
        return await self._one(db, f"UPDATE pyjail_runs SET {change} {where}", id=id, worker=worker, **values)  # noqa: S608

    async def _wait_again(self, db: Connection, job: int) -> None:
        await self._connector.execute_query_all_async_with_connection(
            db, queries["retry_job"], job_id=job, retry_at=datetime.fromtimestamp(0, UTC), new_priority=None,
            new_queue_name=None, new_lock=None,
        )  # fmt: skip

    async def _over(self, db: Connection, job: int) -> None:
        await self._connector.execute_query_all_async_with_connection(
            db, queries["finish_job"], job_id=job, status="succeeded", delete_job=True
        )

    def _times(self) -> dict[str, Any]:
        return {"now": self._clock(), "keep": self._jobs.keep, "most": self._jobs.attempts}


def _record(row: Mapping[str, Any]) -> Record:
    return Record(
        row["id"], row["tenant"], json.loads(row["spec"]), row["state"],
        None if row["result"] is None else json.loads(row["result"]), row["reason"], row["attempts"], row["created"],
        row["ended"], row["expires"],
    )  # fmt: skip


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
