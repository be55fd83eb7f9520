"""Runs that outlive the service: `SQLite`, a store in one table of one file.

The table is there for the results; that a run waits, or is somebody's for the time of a lease, is a column of it
(docs/adr/0028). Results that are long lie in a `FileStore` beside it.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyjail.serve import answers
from pyjail.serve.config import Files, Jobs
from pyjail.serve.database import Database, one, whole
from pyjail.serve.files import FileStore
from pyjail.serve.live import length
from pyjail.serve.problem import Problem
from pyjail.serve.store import ENDED, Record, beginning, named, over_quota

MOST = 100_000  # runs in all
WAITING = 10_000  # of one tenant
LONG = 64 << 10  # bytes of a result; one that has more is a file
SHORT = 4 << 10  # bytes of a run that are not counted: there are `MOST` at most
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, state TEXT NOT NULL,
  created REAL NOT NULL, ended REAL NOT NULL DEFAULT 0, expires REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  worker TEXT NOT NULL DEFAULT '', lease_until REAL NOT NULL DEFAULT 0, turn INTEGER NOT NULL DEFAULT 0,
  idem_key TEXT NOT NULL DEFAULT '', idem_digest TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '',
  spec TEXT NOT NULL, result TEXT, result_digest TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS jobs_key ON jobs (tenant, idem_key) WHERE idem_key != '';
CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (tenant, seq) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS jobs_running ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX IF NOT EXISTS jobs_ended ON jobs (expires) WHERE state IN ('done', 'cancelled', 'lost');
CREATE INDEX IF NOT EXISTS jobs_turns ON jobs (tenant, turn);
CREATE INDEX IF NOT EXISTS jobs_kinds ON jobs (tenant, substr(spec, 1, instr(spec, ',') - 1), seq);
CREATE TABLE IF NOT EXISTS sizes (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, bytes INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS sizes_tenant ON sizes (tenant, bytes);
"""
# Tenants take turns, and those of one tenant come in the order of their coming.
_CLAIM = """
UPDATE jobs SET state = 'running', worker = :worker, lease_until = :until, attempts = attempts + 1, turn = :turn
WHERE seq = (
SELECT first.seq FROM (SELECT tenant, min(seq) AS seq FROM jobs WHERE state = 'queued' GROUP BY tenant) AS first
ORDER BY (SELECT max(turn) FROM jobs WHERE jobs.tenant = first.tenant), first.seq LIMIT 1
) RETURNING *
"""
_CANCEL = "UPDATE jobs SET state = 'cancelled', worker = '', ended = ?, expires = ? WHERE id = ? RETURNING *"
_KIND = "FROM jobs WHERE tenant = ? AND substr(spec, 1, instr(spec, ',') - 1) = ?"
_LISTED = f"SELECT id {_KIND} ORDER BY seq DESC LIMIT ? OFFSET ?"
_NAMED = "SELECT tenant, spec FROM jobs WHERE state = ? AND instr(spec, '\"sha256\":')"
_GROW = """
INSERT INTO sizes SELECT id, tenant, :bytes FROM jobs WHERE id = :id ON CONFLICT DO UPDATE SET bytes = bytes + :bytes
"""
_LAPSE = """
UPDATE jobs SET worker = '', state = iif(attempts >= :most, 'lost', 'queued'),
  reason = iif(attempts >= :most, 'its worker died ' || attempts || ' times', ''),
  ended = iif(attempts >= :most, :now, 0), expires = iif(attempts >= :most, :now + :keep, expires)
WHERE state = 'running'
"""


class SQLite:
    """A `Store` in ``directory``, which this process alone uses; made by `open`."""

    def __init__(self, directory: Path, jobs: Jobs, most: int = MOST, clock: Callable[[], float] = time.time) -> None:
        self._jobs, self._most, self._clock = jobs, most, clock
        kept = 1 << 40
        limits = Files(file=kept, total=kept, count=kept, keep=jobs.keep + 3600, floor=0)
        self._long = FileStore(directory / "results", limits, clock)
        self._database = Database(directory / "jobs.sqlite3", SCHEMA)
        self._turn, self._tried = 0, 0.0

    @classmethod
    async def open(
        cls, directory: Path, jobs: Jobs, most: int = MOST, clock: Callable[[], float] = time.time
    ) -> SQLite:
        """One whose runs that were running wait again, or are lost."""
        made = await asyncio.to_thread(cls, directory, jobs, most, clock)
        await made._database.do(made._begin)
        return made

    def _begin(self, db: sqlite3.Connection) -> None:
        with whole(db, sure=True):
            db.execute(_LAPSE, self._times())
            self._turn = one(db.execute("SELECT coalesce(max(turn), 0) AS turn FROM jobs"))["turn"]

    async def submit(self, record: Record, key: str = "", digest: str = "") -> tuple[Record, bool]:
        """See `Store.submit`."""
        now = self._clock()
        made = replace(record, created=now, expires=now + self._jobs.keep)

        def work(db: sqlite3.Connection) -> tuple[Record, bool]:
            with whole(db, sure=made.sure):
                asked = (record.tenant, key)
                known = key and one(db.execute("SELECT * FROM jobs WHERE tenant = ? AND idem_key = ?", asked))
                if known:
                    if known["idem_digest"] != digest:
                        why = "this Idempotency-Key was used for another request"
                        raise Problem(422, "idempotency", why, field="Idempotency-Key")
                    return self._record(known), False
                spec = _text(made.spec)
                self._room(db, record.tenant, len(spec))
                db.execute(
                    "INSERT INTO jobs (id, tenant, state, created, expires, spec, idem_key, idem_digest)"
                    " VALUES (?, ?, 'queued', ?, ?, ?, ?, ?)",
                    (made.id, made.tenant, made.created, made.expires, spec, key, digest),
                )
                _grow(db, made.id, len(spec))
            return made, True

        return await self._database.do(work)

    def _room(self, db: sqlite3.Connection, tenant: str, size: int) -> None:
        waiting = one(db.execute("SELECT count(*) AS n FROM jobs WHERE state = 'queued' AND tenant = ?", (tenant,)))
        if waiting["n"] >= WAITING:
            raise Problem(429, "share-full", f"{WAITING} runs of this tenant wait already", retry=60)
        kept = one(db.execute("SELECT coalesce(sum(bytes), 0) AS n FROM sizes WHERE tenant = ?", (tenant,)))["n"]
        if size > SHORT and kept + size > self._jobs.total:
            raise over_quota(self._jobs)
        if one(db.execute("SELECT count(*) AS n FROM jobs"))["n"] < self._most:
            return
        if not self._expired(db):
            raise Problem(503, "store-full", f"{self._most} runs are kept already", retry=60)

    async def claim(self, worker: str) -> Record | None:
        """See `Store.claim`."""
        times = self._times()

        def work(db: sqlite3.Connection) -> Record | None:
            with whole(db, sure=False):
                db.execute(_LAPSE + " AND lease_until < :now", times)
                mine = {"worker": worker, "until": times["now"] + self._jobs.lease, "turn": self._turn + 1}
                found = one(db.execute(_CLAIM, mine))
                if found is None and times["now"] >= self._tried:  # a lock alone does not show that it can be written
                    db.execute(f"PRAGMA user_version = {int(times['now']) % 2}")
                    self._tried = times["now"] + self._jobs.lease / 4
            if found is None:
                return None
            self._turn += 1
            return self._record(found)

        return await self._database.do(work)

    async def beat(self, id: str, worker: str) -> bool:
        """See `Store.beat`."""
        return await self._mine(id, worker, "lease_until = ?", self._clock() + self._jobs.lease, sure=False)

    async def finish(self, id: str, worker: str, result: Mapping[str, Any], sure: bool = True) -> bool:
        """See `Store.finish`."""
        now = self._clock()

        def work(db: sqlite3.Connection) -> bool:
            text, digest = _text(result), ""
            if len(text) > LONG:  # ASCII, as json.dumps writes it
                text, digest = "", self._long.put(id, text.encode())
            mine = _mine(
                db, id, worker, "state = 'done', worker = '', ended = ?, expires = ?, result = ?, result_digest = ?",
                now, now + self._jobs.keep, text, digest, sure=sure,
            )  # fmt: skip
            if digest and mine:
                _grow(db, id, self._long.size(id, digest) or 0)
            elif digest and not _refers(db, id, digest):
                self._long.drop(id, digest)
            return mine

        return await self._database.do(work)

    async def release(self, id: str, worker: str) -> bool:
        """See `Store.release`."""
        return await self._mine(id, worker, "state = 'queued', worker = '', attempts = attempts - 1", sure=True)

    async def get(self, id: str, tenant: str) -> Record | None:
        """See `Store.get`."""

        def work(db: sqlite3.Connection) -> Record | None:
            found = one(db.execute("SELECT * FROM jobs WHERE id = ? AND tenant = ?", (id, tenant)))
            return found and self._record(found)

        return await self._database.do(work)

    async def listed(self, tenant: str, kind: str, skip: int, most: int) -> tuple[list[str], int]:
        """See `Store.listed`."""
        of = tenant, beginning(kind)

        def work(db: sqlite3.Connection) -> tuple[list[str], int]:
            found = [row["id"] for row in db.execute(_LISTED, (*of, most, skip))]
            return found, one(db.execute(f"SELECT count(*) AS n {_KIND}", of))["n"]

        return await self._database.do(work)

    async def cancel(self, id: str, tenant: str) -> Record | None:
        """See `Store.cancel`."""
        now = self._clock()

        def work(db: sqlite3.Connection) -> Record | None:
            with whole(db, sure=True):
                found = one(db.execute("SELECT * FROM jobs WHERE id = ? AND tenant = ?", (id, tenant)))
                if found is not None and found["state"] not in ENDED:
                    found = one(db.execute(_CANCEL, (now, now + self._jobs.keep, id)))
            return found and self._record(found)

        return await self._database.do(work)

    async def named(self) -> dict[str, set[str]]:
        """See `Store.named`."""

        def work(db: sqlite3.Connection) -> dict[str, set[str]]:
            # one state after the other: each has an index of its own
            return named((r["tenant"], r["spec"]) for s in ("queued", "running") for r in db.execute(_NAMED, (s,)))

        return await self._database.do(work)

    async def drop(self, id: str, tenant: str) -> bool:
        """See `Store.drop`."""

        def work(db: sqlite3.Connection) -> bool:
            with whole(db, sure=True):
                return self._dropped(db, "id = ? AND tenant = ?", id, tenant) > 0

        return await self._database.do(work)

    async def expire(self) -> int:
        """See `Store.expire`."""

        def work(db: sqlite3.Connection) -> int:
            with whole(db, sure=False):
                dropped = self._expired(db)
            db.execute("PRAGMA wal_checkpoint")  # syncs what was not sure
            return dropped

        found = await self._database.do(work)
        self._long.expire()
        return found

    def _expired(self, db: sqlite3.Connection) -> int:
        return self._dropped(db, "expires < ?", self._clock())

    def _dropped(self, db: sqlite3.Connection, which: str, *values: Any) -> int:
        over = db.execute(
            f"DELETE FROM jobs WHERE state IN ('done', 'cancelled', 'lost') AND {which} RETURNING id, result_digest",  # noqa: S608
            values,
        ).fetchall()
        for row in over:
            db.execute("DELETE FROM sizes WHERE id = ?", (row["id"],))
            if row["result_digest"]:
                self._long.drop(row["id"], row["result_digest"])
        return len(over)

    async def close(self) -> None:
        """See `Store.close`."""
        await self._database.close()

    def _times(self) -> dict[str, float]:
        return {"most": self._jobs.attempts, "keep": self._jobs.keep, "now": self._clock()}

    async def _mine(self, id: str, worker: str, change: str, *values: Any, sure: bool) -> bool:
        return await self._database.do(lambda db: _mine(db, id, worker, change, *values, sure=sure))

    def _record(self, row: sqlite3.Row) -> Record:
        text: str | bytes | None = row["result"]
        if row["result_digest"]:
            text = self._long.get(row["id"], row["result_digest"])
        return Record(
            row["id"], row["tenant"], json.loads(row["spec"]), row["state"], json.loads(text) if text else None,
            row["reason"], row["attempts"], row["created"], row["ended"], row["expires"],
        )  # fmt: skip


def _grow(db: sqlite3.Connection, id: str, size: int) -> None:
    if size > SHORT:
        db.execute(_GROW, {"id": id, "bytes": size})


def _refers(db: sqlite3.Connection, id: str, digest: str) -> bool:
    """Whether its result is that file: another worker had the same to say before."""
    return one(db.execute("SELECT * FROM jobs WHERE id = ? AND result_digest = ?", (id, digest))) is not None


def _mine(db: sqlite3.Connection, id: str, worker: str, change: str, *values: Any, sure: bool) -> bool:
    with whole(db, sure=sure):
        done = db.execute(
            f"UPDATE jobs SET {change} WHERE id = ? AND worker = ? AND state = 'running'",  # noqa: S608 (constants)
            (*values, id, worker),
        )
        return done.rowcount == 1


def _text(value: Mapping[str, Any]) -> str:
    if length(value) > answers.LONG:
        return answers.text(value, ascii_only=True).decode()
    return json.dumps(value, separators=(",", ":"))
