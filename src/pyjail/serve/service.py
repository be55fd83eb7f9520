"""All parts of one service, made together and ended together."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from pyjail import aio
from pyjail.serve import leaving
from pyjail.serve.admission import Turns
from pyjail.serve.config import Config, Jobs
from pyjail.serve.engine import Engine
from pyjail.serve.files import FileStore
from pyjail.serve.kept import Places
from pyjail.serve.known import Known
from pyjail.serve.later import Doer, Later, Maker
from pyjail.serve.live import Lives
from pyjail.serve.names import Names
from pyjail.serve.observer import Observer
from pyjail.serve.sqlite_store import SQLite
from pyjail.serve.state import State
from pyjail.serve.store import Store
from pyjail.serve.worker import every

TIDY = 60.0  # seconds between looks for what is over


class Service:
    """What its routes use; what is on the disk is there between `start` and `end`."""

    state: State
    files: FileStore
    names: Names
    store: Store
    later: Later

    def __init__(self, config: Config) -> None:
        self.config = config
        self.turns = Turns(config.admission)
        self.observer = Observer(config, self.turns)
        self.engine = Engine(self.turns, self.observer, config.languages)
        self.lives = Lives()
        self.held = 0  # bytes of kept files that requests have read, and wait with
        self.makers: dict[str, Maker] = {}  # of jobs that are done later, by the faces that they came by
        self.doers: dict[str, Doer] = {}
        self.places = Places(config, self.engine)
        self.known = Known(config)
        self.ending = asyncio.Event()  # set by `drain`

    async def start(self) -> None:
        """Before the first request. Raises `Problem` and others where it cannot be; nothing is left then."""
        self.observer.start()  # and stays, for what is said of a start that failed
        async with AsyncExitStack() as made:
            await self._make(made)
            self._made = made.pop_all()

    async def _make(self, made: AsyncExitStack) -> None:
        config = self.config
        aio.set_concurrency(config.admission.concurrent)  # the queue is ours alone
        self.state = await asyncio.to_thread(State, config.state)
        made.push_async_callback(asyncio.to_thread, self.state.close)
        self.files = self.engine.files = await asyncio.to_thread(FileStore, self.state.directory, config.files)
        self.names = await asyncio.to_thread(Names, self.state.directory, self.files)
        made.push_async_callback(self.names.close)
        self.store = await _store(self.state.directory, config.jobs)
        made.push_async_callback(self.store.close)
        made.push_async_callback(self.engine.checks.close)
        self.later = Later(config, self.engine, self.store, self.lives)
        self.later.makers |= self.makers
        self.later.doers |= self.doers
        self.later.start()
        made.push_async_callback(self.later.end)
        made.push_async_callback(self.places.end)
        self._watch()
        chores = (self.store.expire, self._expire, self.names.prune, self.engine.checks.close)
        made.push_async_callback(leaving.ended, asyncio.create_task(every(TIDY, *chores)))

    def learn(self) -> None:
        """Find out what takes long, while nobody runs anything."""
        turns = self.turns
        learning = asyncio.create_task(self.known.learn(lambda: bool(turns.running or turns.waiting or turns.draining)))
        self._made.push_async_callback(leaving.ended, learning)

    def _watch(self) -> None:
        metrics, lives = self.observer.metrics, self.lives
        metrics.watch("pyjail_store_bytes", "bytes of files that wait for runs", self.files.total)
        jobs = {state: partial(lives.count, state) for state in ("queued", "running", "done", "cancelled", "lost")}
        metrics.watch_each("pyjail_jobs", "runs that are fetched later, of late", "state", jobs)

    async def _expire(self) -> None:
        """What is late, unless a run that has not ended names it."""
        if await asyncio.to_thread(self.files.late):
            for tenant, digests in (await self.store.named()).items():
                await asyncio.to_thread(self.files.use, tenant, digests)
            await asyncio.to_thread(self.files.expire)

    def drain(self) -> None:
        """Nothing new is run, and who does nothing is told to go."""
        self.turns.draining = True
        self.places.drain()
        self.ending.set()

    def unready(self) -> list[str]:
        """Why no run would be taken, for people; nothing when one would."""
        why = ["the service is being ended"] if self.turns.draining else []
        disk = os.statvfs(self.state.directory)
        if disk.f_bavail * disk.f_frsize < self.config.files.floor:
            why.append("the disk of the state directory is full")
        return [*why, *filter(None, [self.later.stalled])]

    async def end(self) -> None:
        """After the last one."""
        await self._made.aclose()
        await asyncio.to_thread(self.observer.end)


async def _store(directory: Path, jobs: Jobs) -> Store:
    """Where runs are kept that are fetched later. Raises ImportError: the extra ``serve-postgres`` is needed."""
    if not jobs.postgres:
        return await SQLite.open(directory, jobs)
    from pyjail.serve.postgres_store import Postgres

    return await Postgres.open(jobs)
