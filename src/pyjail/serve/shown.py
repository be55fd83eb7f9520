"""Output without what a terminal would obey, of a result and while a program runs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyjail import Result, sanitize
from pyjail.serve import leaving
from pyjail.serve.job import Outcome
from pyjail.serve.piped import Watcher

AT_ONCE = 64 << 10  # bytes of a result that the loop has time for
LIVE_AT_ONCE = 4 << 10  # bytes, of which a program that writes without an end writes many


async def cleaned(outcome: Outcome, mode: str) -> Outcome:
    """The same, its output as that mode of `pyjail.sanitize` has it; "": as it is."""
    if not mode:
        return outcome
    compile = outcome.compile and await _clean(outcome.compile, mode)
    return replace(outcome, result=outcome.result and await _clean(outcome.result, mode), compile=compile)


async def _clean(result: Result, mode: str) -> Result:
    found: dict[str, Any] = {}
    for name in ("stdout", "stderr"):
        data = getattr(result, name)
        if data:
            many = len(data) > AT_ONCE
            found[name] = (await asyncio.to_thread(sanitize.clean, data, mode)) if many else sanitize.clean(data, mode)
    return replace(result, **found)


class Shown:
    """A `Watcher` that tells another one what is left of the output. What takes longer is cleaned by a thread, each
    stream in its order; leaving the block ends that."""

    def __init__(self, watcher: Watcher, mode: str) -> None:
        self._watcher = watcher
        self._machines = {name: sanitize.Sanitizer(mode) for name in ("stdout", "stderr")}
        self._waiting: dict[str, deque[bytes]] = {name: deque() for name in self._machines}
        self._work: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Shown:
        return self

    async def __aexit__(self, *_: object) -> None:
        await leaving.ended(*self._work.values())

    def began(self, step: str) -> None:
        self._watcher.began(step)

    def wrote(self, name: str, data: bytes) -> None:
        if name not in self._work and len(data) <= LIVE_AT_ONCE:
            self._tell(name, self._machines[name].feed(data))
            return
        self._waiting[name].append(data)
        if name not in self._work:
            self._work[name] = asyncio.create_task(self._clean(name))

    def used(self, usage: Mapping[str, Any]) -> None:
        self._watcher.used(usage)

    async def end(self) -> None:
        """What is held, now that nothing more comes; raises what went wrong."""
        await asyncio.gather(*self._work.values())
        for name, machine in self._machines.items():
            self._tell(name, machine.end())

    async def _clean(self, name: str) -> None:
        while waiting := self._waiting[name]:
            self._tell(name, await asyncio.to_thread(self._machines[name].feed, waiting.popleft()))
        del self._work[name]

    def _tell(self, name: str, data: bytes) -> None:
        if data:
            self._watcher.wrote(name, data)
