"""Runs that are fetched later: they wait in the store, and are run when it is their turn."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from pyjail import JailError
from pyjail.serve import errors, leaving, model, repeated, watch
from pyjail.serve.config import Config, Token
from pyjail.serve.engine import Engine
from pyjail.serve.job import Job
from pyjail.serve.live import STREAMS, Live, Lives
from pyjail.serve.store import ENDED, Record, Store
from pyjail.serve.worker import Worker

LOOK = 1.0  # seconds between two looks for what others do
Maker = Callable[[Mapping[str, Any]], Job]
Doer = Callable[[Mapping[str, Any], Live, Token | None], Awaitable[Mapping[str, Any]]]


class Later:
    """What a `Worker` has done, and what is to be seen of it.

    Attributes: ``makers``, by the "kind" of a record's spec: its "body" -> the `Job`. ``doers``, of those that are more
    than one program: its "body" -> the result.
    """

    def __init__(self, config: Config, engine: Engine, store: Store, lives: Lives) -> None:
        self._config, self._engine, self._store, self._lives = config, engine, store, lives
        self._worker = Worker(store, self, config.jobs, config.admission.concurrent)
        self.makers: dict[str, Maker] = {"run": lambda body: model.job_of(model.Run.model_validate(body), config)}

        self.doers: dict[str, Doer] = {}
        self._alone = not config.jobs.postgres  # nobody else does what is kept: what is seen here is all there is

    def start(self) -> None:
        """Do what waits, from now on."""
        self._worker.start()

    async def end(self) -> None:
        """Begin nothing more; what runs is ended, and waits in the store again."""
        await self._worker.end()

    @property
    def stalled(self) -> str:
        """See `Worker.stalled`."""
        return self._worker.stalled

    async def submit(
        self, tenant: str, spec: Mapping[str, Any], key: str = "", digest: str = "", id: str = ""
    ) -> Record:
        """What is kept of it: this, or what came with the same ``key`` before. ``id``: one that it is to have."""
        kept, new = await self._store.submit(Record(id or secrets.token_hex(16), tenant, spec), key, digest)
        if new:
            self._lives.make(kept.id, tenant)
            self._worker.wake()
        return kept

    async def seen(self, id: str, tenant: str) -> Live | None:
        """The run, whoever runs it; None: there is none, or it is another tenant's."""
        live = self._lives.get(id, tenant)
        if live is not None and (live.ended or live.state == "running" or live.task is not None or self._alone):
            return live
        record = await self._store.get(id, tenant)
        if record is None:
            return None
        if record.state not in ENDED:
            return self._lives.make(id, tenant)
        live = live or Live(id, tenant)
        _end(live, record)
        return live

    async def cancel(self, id: str, tenant: str) -> Live | None:
        """The run, which has ended: its jail is gone. None as `seen`."""
        live = await self.seen(id, tenant)
        if live is None or live.ended:
            return live
        record = await self._store.cancel(id, tenant)  # None: it is of a client that waits, and nobody keeps it
        if live.task is not None:
            await leaving.ended(live.task)
        await self._worker.stop(id)
        if record is None:
            live.end("cancelled")
        else:
            _end(live, record)
        return live

    async def forget(self, id: str, tenant: str) -> bool:
        """Whether it is kept no more: one that has ended, and is this tenant's."""
        gone = await self._store.drop(id, tenant)
        if gone:
            self._lives.drop(id)
        return gone

    async def until_ended(self, live: Live, seconds: float | None) -> None:
        """Wait for its end, so long at most; runs of another service are looked for in the store."""
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        while not live.ended:
            left = None if end is None else end - loop.time()
            if left is not None and left <= 0:
                return
            look = left if not self._config.jobs.postgres else LOOK if left is None else min(LOOK, left)
            if not await live.until_ended(look) and (await self.seen(live.id, live.tenant)) is None:
                live.end("lost", {"reason": "it is kept no more"})

    # ---- what the worker asks for ----

    async def do(self, record: Record) -> Mapping[str, Any]:
        """See `worker.Doer`."""
        watch.current.set(watch.Watch(record.id, record.tenant))  # of the task of this record alone
        live = self._lives.make(record.id, record.tenant)
        token = next((t for t in self._config.tokens if t.name == record.tenant), None)
        try:
            if (doer := self.doers.get(record.spec["kind"])) is not None:
                return await doer(record.spec["body"], live, token)
            job = self.makers[record.spec["kind"]](record.spec["body"])
            seen = live if record.sure else None  # its client alone knows it, and waits for its end
            return await repeated.run(self._engine, job, record.tenant, token, seen)
        except (JailError, KeyError, ValidationError) as e:  # also what is 503: waiting makes no other machine of this
            return {"problem": errors.of(e).to_dict()}

    def over(self, record: Record, state: str, result: Mapping[str, Any] | None) -> None:
        """See `worker.Doer`."""
        live = self._lives.make(record.id, record.tenant)
        if state == "queued":
            live.waits()
        else:
            live.end(state, result)


def _end(live: Live, record: Record) -> None:
    """The same as the record. One that nobody has seen running has output, too, for who follows it now."""
    if not live.ended and record.result is not None and not any(w.total for w in live.streams.values()):
        for name, data in _output(record.result.get("result") or {}):
            live.wrote(name, data)
    if not live.ended and not live.rows and record.result is not None:
        live.rows = list(record.result.get("results") or ())  # of a judgement
    live.end(record.state, {"reason": record.reason} if record.state == "lost" else record.result)


def _output(result: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for name in STREAMS:
        packed = result.get(name) or {}
        yield name, base64.b64decode(packed["base64"]) if "base64" in packed else packed.get("bytes", "").encode()
