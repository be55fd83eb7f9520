"""All parts of one service, made together and ended together."""

from __future__ import annotations

import asyncio
import os
from functools import partial

from pyjail import aio
from pyjail.serve import leaving
from pyjail.serve.admission import Turns
from pyjail.serve.config import Config
from pyjail.serve.engine import Engine
from pyjail.serve.files import FileStore
from pyjail.serve.later import Later
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

    async def start(self) -> None:
        """Before the first request."""
        config = self.config
        self.observer.start()
        aio.set_concurrency(config.admission.concurrent)  # the queue is ours alone
        self.state = await asyncio.to_thread(State, config.state)
        self.files = await asyncio.to_thread(FileStore, self.state.directory, config.files)
        self.engine.files = self.files
        self.names = await asyncio.to_thread(Names, self.state.directory, self.files)
        self.store = await SQLite.open(self.state.directory, config.jobs)
        self.later = Later(config, self.engine, self.store, self.lives)
        self.later.start()
        self._watch()
        chores = (self.store.expire, self._expire, self.names.prune, self.engine.checks.close)
        self._chores = asyncio.create_task(every(TIDY, *chores))

    def _watch(self) -> None:
        metrics, lives = self.observer.metrics, self.lives
        metrics.watch("pyjail_store_bytes", "bytes of files that wait for runs", self.files.total)
        jobs = {state: partial(lives.count, state) for state in ("queued", "running", "done", "cancelled", "lost")}
        metrics.watch_each("pyjail_jobs", "runs that are fetched later, of late", "state", jobs)

    async def _expire(self) -> None:
        await asyncio.to_thread(self.files.expire)

    def unready(self) -> list[str]:
        """Why no run would be taken, for people; nothing when one would."""
        why = ["the service is being ended"] if self.turns.draining else []
        disk = os.statvfs(self.state.directory)
        if disk.f_bavail * disk.f_frsize < self.config.files.floor:
            why.append("the disk of the state directory is full")
        return why

    async def end(self) -> None:
        """After the last one."""
        await leaving.ended(self._chores)
        await self.later.end()
        await self.engine.checks.close()
        await self.store.close()
        await self.names.close()
        await asyncio.to_thread(self.state.close)
        await asyncio.to_thread(self.observer.end)
