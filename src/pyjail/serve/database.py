"""One SQLite file, used by one thread, so that no event loop waits for the disk: `Database`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pyjail.serve.disk import full

T = TypeVar("T")
_LOG = 4 << 20  # bytes that the log of changes keeps after a large one


class Database:
    """A connection in WAL mode that commits each statement by itself, but for those within `whole`."""

    def __init__(self, path: Path, schema: str) -> None:
        self._thread = ThreadPoolExecutor(1, "pyjail-serve-db")
        self._path, self._schema = path, schema
        self.connection = self._thread.submit(self._open).result()

    def _open(self) -> sqlite3.Connection:
        made = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        made.row_factory = sqlite3.Row
        made.execute("PRAGMA journal_mode = WAL")
        made.execute(f"PRAGMA journal_size_limit = {_LOG}")
        made.executescript(self._schema)
        return made

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` gives, done by the thread. It is done whole even if nobody waits for it any more. Raises
        `Problem` 507 where the disk is full."""
        return await asyncio.shield(asyncio.wrap_future(self._thread.submit(self._checked, work)))

    def _checked(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self.connection)
        except sqlite3.OperationalError as e:
            if e.sqlite_errorcode in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):
                raise full() from None
            raise

    async def close(self) -> None:
        """The thread ends with the connection."""
        await asyncio.wrap_future(self._thread.submit(self.connection.close))
        self._thread.shutdown(wait=False)


@contextmanager
def whole(connection: sqlite3.Connection, *, sure: bool) -> Iterator[sqlite3.Connection]:
    """All of the block, or none of it. ``sure``: it is on the disk then, whatever happens to the machine's power."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if sure else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def one(cursor: sqlite3.Cursor) -> Any:
    """Its only row, or None; the statement is over."""
    return next(iter(cursor.fetchall()), None)
