"""What a face may ask the service for: `Counter`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

from pyjail import Jail, JailError, Mount, images, languages
from pyjail.serve import host_files
from pyjail.serve.face import Hold, Kept, Load
from pyjail.serve.faces import boxer
from pyjail.serve.job import Group, Job, Outcome, Script
from pyjail.serve.known import Known
from pyjail.serve.piped import Watcher
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service


class Counter:
    """`pyjail.serve.face.Desk` of one face and one tenant."""

    def __init__(self, service: Service, known: Known, face: str, tenant: str, token: Any) -> None:
        self.config = service.config
        self.settings: Mapping[str, Any] = service.config.faces.get(face, {})
        self._languages = known
        self._service, self._of, self._token = service, (tenant, face), token

    async def run(self, job: Job, watcher: Watcher | None = None) -> Outcome:
        return await self._service.engine.run(job, self._of[0], self._token, watcher=watcher)

    async def steps(self, script: Script) -> Sequence[Outcome]:
        return await self._service.engine.steps(script, self._of[0], self._token)

    async def together(self, group: Group, watchers: Sequence[Watcher | None]) -> Sequence[Outcome]:
        return await self._service.engine.together(group, watchers, self._of[0], self._token)

    async def image(self, name: str) -> Jail:
        try:
            found = await asyncio.to_thread(images.get, name)
        except (JailError, OSError):
            raise Problem(400, "image", f"unknown image: {name[:200]}; known: {await self._known()}") from None
        return Jail(image=found)

    async def submit(self, body: Mapping[str, Any], id: str, awaited: bool = False) -> str:
        tenant, face = self._of
        self._service.files.room()
        spec = {"kind": face, "body": body} | ({"awaited": True} if awaited else {})
        return (await self._service.later.submit(tenant, spec, id=id)).id

    async def fetch(self, id: str, seconds: float) -> Kept | None:
        tenant, face = self._of
        live = await self._service.later.seen(id, tenant)
        if live is None:
            return None
        await self._service.later.until_ended(live, seconds)
        record = await self._service.store.get(id, tenant)
        if record is None or record.spec["kind"] != face:
            return None
        state = "running" if record.state == "queued" and live.state == "running" else record.state
        return Kept(id, state, record.spec["body"], record.result, record.reason, record.created, record.ended)

    async def submitted(self, skip: int, most: int) -> tuple[Sequence[str], int]:
        return await self._service.store.listed(*self._of, skip, most)

    async def forget(self, id: str) -> bool:
        return await self._service.later.forget(id, self._of[0])

    async def languages(self, *names: str) -> Mapping[str, str]:
        return await self._languages.versions(names)

    async def tools(self, language: str, jail: Jail) -> Jail:
        return await asyncio.to_thread(_with_tools, language, jail)

    async def _known(self) -> str:
        try:
            kept = [name for image in await asyncio.to_thread(images.list) if (name := image.name)]
        except (JailError, OSError):
            kept = []
        own = [boxer.HOST_VIEW, *self.settings.get("images", {})]
        return ", ".join(sorted({*own, *kept})[:50])

    async def put(self, path: str, data: bytes) -> None:
        await self._service.names.put(*self._of, path, data)

    async def get(self, path: str) -> bytes | None:
        return await self._service.names.get(*self._of, path)

    async def host(self, path: str, directories: Sequence[str], most: int) -> bytes:
        return await asyncio.to_thread(host_files.read, path, directories, most)

    async def drop(self, path: str) -> bool:
        return await self._service.names.drop(*self._of, path)

    async def names(self) -> Sequence[str]:
        return await self._service.names.names(*self._of)

    def load(self) -> Load:
        turns, lives = self._service.turns, self._service.lives
        slots = self.config.admission.concurrent
        return Load(slots, turns.running, lives.count("queued"), lives.count("lost"), turns.draining)

    @contextmanager
    def holding(self) -> Iterator[Hold]:
        """Raises `Problem` 503, in the block, where requests hold as much as bodies may already."""
        mine = 0

        def hold(size: int) -> None:
            nonlocal mine
            if self._service.held + size > self.config.admission.inflight:
                raise Problem(503, "inflight", "too many bytes of files are held already", retry=1)
            mine += size
            self._service.held += size

        try:
            yield hold
        finally:
            self._service.held -= mine


@lru_cache(maxsize=64)
def _with_tools(language: str, jail: Jail) -> Jail:
    if language == "python":
        return _with_scripts(jail)
    found = languages.table()[language]
    return languages.jail_for(found, jail) if languages.available(found, jail) else jail


def _with_scripts(jail: Jail) -> Jail:
    """``pip`` and ``pytest`` of the environment whose Python it is, which a jail does not have by itself."""
    there = {name: os.path.join(os.path.dirname(os.fspath(jail.python or "")), name) for name in ("pip", "pytest")}
    found = [
        Mount.bind(path, f"/venv/bin/{name}") for name, path in there.items() if jail.python and os.path.isfile(path)
    ]
    return replace(jail, mounts=(*jail.mounts, *found)) if found else jail
