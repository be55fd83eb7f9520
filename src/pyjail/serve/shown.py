"""Output without what a terminal would obey, of a result and while a program runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyjail import Result, sanitize
from pyjail.serve.job import Outcome
from pyjail.serve.piped import Watcher

AT_ONCE = 64 << 10  # bytes that the loop has time for


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
    """A `Watcher` that tells another one what is left of the output."""

    def __init__(self, watcher: Watcher, mode: str) -> None:
        self._watcher = watcher
        self._machines = {name: sanitize.Sanitizer(mode) for name in ("stdout", "stderr")}

    def began(self, step: str) -> None:
        self._watcher.began(step)

    def wrote(self, name: str, data: bytes) -> None:
        self._tell(name, self._machines[name].feed(data))

    def used(self, usage: Mapping[str, Any]) -> None:
        self._watcher.used(usage)

    def end(self) -> None:
        """What was held, now that nothing more comes."""
        for name, machine in self._machines.items():
            self._tell(name, machine.end())

    def _tell(self, name: str, data: bytes) -> None:
        if data:
            self._watcher.wrote(name, data)
