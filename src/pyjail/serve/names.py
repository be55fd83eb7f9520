"""Files by names that clients chose: `Names`. A name is a row of a table, and reaches no path of this machine."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from pyjail.serve.database import Database, one, whole
from pyjail.serve.files import FileStore
from pyjail.serve.problem import Problem

SCHEMA = """
CREATE TABLE IF NOT EXISTS names (
  tenant TEXT NOT NULL, face TEXT NOT NULL, path TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (tenant, face, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS names_digest ON names (tenant, digest);
"""


def checked(path: str) -> str:
    """The path, as files of runs have them. Raises `Problem` 422: it leads elsewhere, or is longer than one can be."""
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise Problem(422, "path", 'a relative path without ".." and empty parts is needed', field="path")
    try:
        lengths = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        raise Problem(422, "path", "a path is Unicode", field="path") from None
    if max(lengths) > 255 or sum(lengths) + len(parts) > 4000:
        raise Problem(422, "path", "longer than a path can be", field="path")
    return path


class Names:
    """Names of files of ``files``, for each tenant and face by itself, kept in ``directory``."""

    def __init__(self, directory: Path, files: FileStore) -> None:
        self._files = files
        self._database = Database(directory / "names.sqlite3", SCHEMA)

    async def put(self, tenant: str, face: str, path: str, data: bytes) -> None:
        """It has this name; what had it before is gone. Raises `Problem` 422, 413, 507."""
        checked(path)
        digest = await asyncio.to_thread(self._files.put, _owner(tenant), data)

        def work(db: sqlite3.Connection) -> None:
            with whole(db, sure=True):
                before = _digest(db, tenant, face, path)
                if before is None and _count(db, tenant, face) >= self._files.limits.count:
                    raise Problem(507, "quota", f"at most {self._files.limits.count} names are kept for one tenant")
                db.execute("INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)", (tenant, face, path, digest))
                unused = before is not None and before != digest and not _named(db, tenant, before)
            if unused:
                self._files.drop(_owner(tenant), str(before))

        await self._database.do(work)

    async def digest(self, tenant: str, face: str, path: str) -> str | None:
        """Of the file of that name; None: there is none."""

        def work(db: sqlite3.Connection) -> str | None:
            found = _digest(db, tenant, face, path)
            return found if found is not None and self._files.size(_owner(tenant), found) is not None else None

        return await self._database.do(work)

    async def get(self, tenant: str, face: str, path: str) -> bytes | None:
        """Its content; None: there is none."""
        found = await self.digest(tenant, face, path)
        return None if found is None else await asyncio.to_thread(self._files.get, _owner(tenant), found)

    async def drop(self, tenant: str, face: str, path: str) -> bool:
        """Whether there was one. The file goes with its last name."""

        def work(db: sqlite3.Connection) -> bool:
            with whole(db, sure=True):
                found = _digest(db, tenant, face, path)
                if found is None:
                    return False
                db.execute("DELETE FROM names WHERE tenant = ? AND face = ? AND path = ?", (tenant, face, path))
                unused = not _named(db, tenant, found)
            there = self._files.size(_owner(tenant), found) is not None
            if unused:
                self._files.drop(_owner(tenant), found)
            return there

        return await self._database.do(work)

    async def names(self, tenant: str, face: str) -> Sequence[str]:
        """All of them, in order."""

        def work(db: sqlite3.Connection) -> list[str]:
            asked = "SELECT path, digest FROM names WHERE tenant = ? AND face = ? ORDER BY path"
            rows = db.execute(asked, (tenant, face)).fetchall()
            return [row["path"] for row in rows if self._files.size(_owner(tenant), row["digest"]) is not None]

        return await self._database.do(work)

    async def prune(self) -> int:
        """Names of files that are gone: how many."""

        def work(db: sqlite3.Connection) -> int:
            with whole(db, sure=False):
                rows = db.execute("SELECT DISTINCT tenant, digest FROM names").fetchall()
                gone = [tuple(row) for row in rows if self._files.size(_owner(row["tenant"]), row["digest"]) is None]
                return db.executemany("DELETE FROM names WHERE tenant = ? AND digest = ?", gone).rowcount if gone else 0

        return await self._database.do(work)

    async def close(self) -> None:
        """Nothing else is called afterwards."""
        await self._database.close()


def _owner(tenant: str) -> str:
    return f"named\0{tenant}"  # files that have names go with them: not those that were uploaded by digest


def _digest(db: sqlite3.Connection, tenant: str, face: str, path: str) -> str | None:
    asked = (tenant, face, path)
    found = one(db.execute("SELECT digest FROM names WHERE tenant = ? AND face = ? AND path = ?", asked))
    return None if found is None else found["digest"]


def _count(db: sqlite3.Connection, tenant: str, face: str) -> int:
    return int(one(db.execute("SELECT count(*) AS n FROM names WHERE tenant = ? AND face = ?", (tenant, face)))["n"])


def _named(db: sqlite3.Connection, tenant: str, digest: str) -> bool:
    return one(db.execute("SELECT 1 FROM names WHERE tenant = ? AND digest = ? LIMIT 1", (tenant, digest))) is not None
