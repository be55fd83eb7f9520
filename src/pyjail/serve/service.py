"""All parts of one service, made together and ended together."""

from __future__ import annotations

import asyncio

from pyjail import aio
from pyjail.serve import leaving
from pyjail.serve.admission import Turns
from pyjail.serve.config import Config
from pyjail.serve.engine import Engine
from pyjail.serve.files import FileStore
from pyjail.serve.later import Later
from pyjail.serve.live import Lives
from pyjail.serve.names import Names
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
        self.engine = Engine(self.turns)
        self.lives = Lives()

    async def start(self) -> None:
        """Before the first request."""
        config = self.config
        aio.set_concurrency(config.admission.concurrent)  # the queue is ours alone
        self.state = await asyncio.to_thread(State, config.state)
        self.files = await asyncio.to_thread(FileStore, self.state.directory, config.files)
        self.engine.files = self.files
        self.names = await asyncio.to_thread(Names, self.state.directory, self.files)
        self.store = await SQLite.open(self.state.directory, config.jobs)
        self.later = Later(config, self.engine, self.store, self.lives)
        self.later.start()
        self._chores = asyncio.create_task(every(TIDY, self.store.expire, self._expire, self.names.prune))

    async def _expire(self) -> None:
        await asyncio.to_thread(self.files.expire)

    def unready(self) -> list[str]:
        """Why no run would be taken, for people; nothing when one would."""
        return ["the service is being ended"] if self.turns.draining else []

    async def end(self) -> None:
        """After the last one."""
        await leaving.ended(self._chores)
        await self.later.end()
        await self.store.close()
        await self.names.close()
        await asyncio.to_thread(self.state.close)
