"""One program whose output is seen while it runs: `run`, with the results of `pyjail.aio.run`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from pyjail import DEVNULL, Limits, Receipt, Result, Verdict, aio

CHUNK = 1 << 16
EVERY = 0.5  # seconds between two looks at what it uses
Start = Callable[..., Awaitable[aio.AsyncProcess]]  # `pyjail.aio.start`, or that of a box
EOT = b"\x04"  # what ends the input of a program that has a terminal
_OTHERS = (Verdict.OK, Verdict.RUNTIME_ERROR, Verdict.SIGNALED)  # a program that is stopped for its output ends so


class Watcher(Protocol):
    """Who sees it. No method may wait. One that talks to it, too, has ``started(process)``: its input stays open."""

    def began(self, step: str) -> None:
        """The "compile"r runs, or the program: "run"."""

    def wrote(self, name: str, data: bytes) -> None:
        """To "stdout" or "stderr"; never more than ``limits.output`` of each."""

    def used(self, usage: Mapping[str, Any]) -> None:
        """So much until now."""


class Nobody:
    """A `Watcher` that looks away."""

    def began(self, step: str) -> None:
        return

    def wrote(self, name: str, data: bytes) -> None:
        return

    def used(self, usage: Mapping[str, Any]) -> None:
        return


class _Stream:
    """What a program writes to one pipe, up to the limit."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.most = limits.output
        self.kept = bytearray()
        self.total = 0

    @property
    def over(self) -> bool:
        return self.most is not None and self.total > self.most

    async def follow(self, process: aio.AsyncProcess, watcher: Watcher) -> None:
        """Until its end; a program that writes more than its limit is killed, and what it wrote beyond is counted."""
        reader = getattr(process, self.name)
        while data := await reader.read(CHUNK):
            self.total += len(data)
            part = data if self.most is None else data[: max(0, self.most - len(self.kept))]
            if part:
                self.kept += part
                watcher.wrote(self.name, part)
            if self.over:
                process.kill()


async def run(
    given: Mapping[str, Any], data: bytes, watcher: Watcher, begun: Callable[[], None] = lambda: None,
    start: Start | None = None,
) -> Result:  # fmt: skip
    """As `pyjail.aio.run` with these parameters and ``input=data``, or with ``pty=``. ``begun``: called when it runs.
    Cancelled, it ends when the program is gone."""
    started: Callable[[aio.AsyncProcess], None] | None = getattr(watcher, "started", None)
    terminal = "pty" in given
    if not (data or started or terminal):
        given = {"stdin": DEVNULL, **given}
    async with await (start or aio.start)(**given) as process:
        begun()
        streams = [_Stream(name, process.limits) for name in ("stdout", "stderr") if getattr(process, name) is not None]
        others = [_look(process, watcher)]
        if data or (terminal and not started):
            others.append(_feed(process, data, terminal))
        if started is not None:
            started(process)
        tasks = [asyncio.ensure_future(stream.follow(process, watcher)) for stream in streams]
        beside = [asyncio.ensure_future(one) for one in others]
        try:
            await asyncio.gather(*tasks)
            await process.wait()
        finally:
            for task in (*tasks, *beside):
                task.cancel()
            await asyncio.gather(*tasks, *beside, return_exceptions=True)
    return _whole(process.result, {stream.name: stream for stream in streams})


async def _look(process: aio.AsyncProcess, watcher: Watcher) -> None:
    """Tell what it uses, as long as it runs."""
    began = time.monotonic()
    while True:
        seen = process.used().to_dict()
        watcher.used({"wall_time": round(time.monotonic() - began, 3), **seen})
        await asyncio.sleep(EVERY)


async def _feed(process: aio.AsyncProcess, data: bytes, terminal: bool) -> None:
    with suppress(OSError):
        process.stdin.write(data + EOT if terminal else data)
        await process.stdin.drain()
    if not terminal:
        await process.stdin.close()


def _whole(result: Result, streams: Mapping[str, _Stream]) -> Result:
    found: dict[str, Any] = {}
    for name, stream in streams.items():
        found |= {name: bytes(stream.kept), f"{name}_bytes": stream.total}
    if any(stream.over for stream in streams.values()):
        found["limits_hit"] = result.limits_hit | {"output"}
        if result.verdict in _OTHERS:
            found["verdict"] = Verdict.OUTPUT
    most = result.limits.output
    if most is not None and streams:
        held = {"enforced_by": "the service, while it reads", "value": f"{most} bytes per stream", "status": "enforced"}
        found["receipt"] = Receipt(replace(r, **held) if r.name == "output" else r for r in result.receipt)
    return replace(result, **found)
