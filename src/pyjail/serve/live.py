"""A run as it is seen while it lasts, and a little longer: its state, the last of its output, its end."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

WINDOW = 256 << 10  # bytes of output that can be asked for again, of both streams together
SIZE = 64 << 20  # of results that can be seen without the store
STREAMS = ("stdout", "stderr")


class Window:
    """The last bytes of a stream.

    Attributes: ``total``, of all that was written. ``start``: where what is kept begins.
    """

    def __init__(self, most: int = WINDOW // 2) -> None:
        self._most = most
        self._kept = bytearray()
        self.start = 0

    @property
    def total(self) -> int:
        return self.start + len(self._kept)

    def add(self, data: bytes) -> None:
        """What it is longer by."""
        self._kept += data
        over = len(self._kept) - self._most
        if over > self._most // 4:  # not for every piece: what is kept moves
            del self._kept[:over]
            self.start += over

    def read(self, at: int, most: int) -> bytes:
        """Some bytes from there on; ``at`` lies in what is kept."""
        return bytes(self._kept[at - self.start : at - self.start + most])


class Live:
    """One run. Who waits for a change is woken by each.

    Attributes:
        id, tenant: as its record has them. state: "queued", "running", "done", "cancelled" or "lost"; step: what runs
            now, "compile" or "run". result: once it is done. usage: the last that was measured. rows: of a judgement.
        streams: `Window` of "stdout" and "stderr". task: what ends it when it is cancelled; None: it has ended, or
            runs elsewhere.
        version: counts changes. ended: time.monotonic() of its end; 0: not yet.
    """

    def __init__(self, id: str, tenant: str, over: Callable[[Live], None] = lambda _: None) -> None:
        self.id, self.tenant, self._over = id, tenant, over
        self.state, self.step = "queued", ""
        self.result: Mapping[str, Any] | None = None
        self.usage: Mapping[str, Any] | None = None
        self.rows: list[Mapping[str, Any]] = []
        self.streams = {name: Window() for name in STREAMS}
        self.task: asyncio.Task[Any] | None = None
        self.version = 0
        self.ended = 0.0
        self._waiting: set[asyncio.Future[None]] = set()

    def wrote(self, name: str, data: bytes) -> None:
        """The program wrote this."""
        if not self.ended:
            self.streams[name].add(data)
            self._change()

    def began(self, step: str) -> None:
        """The compiler, or the program, runs now."""
        if not self.ended:
            self.state, self.step = "running", step
            self._change()

    def used(self, usage: Mapping[str, Any]) -> None:
        """This was measured."""
        if not self.ended:
            self.usage = usage
            self._change()

    def row(self, said: Mapping[str, Any]) -> None:
        """So one test ended."""
        if not self.ended:
            self.rows.append(said)
            self._change()

    def waits(self) -> None:
        """It runs no more, and will once again, from its beginning."""
        if self.ended:
            return
        self.state, self.step, self.usage, self.rows = "queued", "", None, []
        self.streams = {name: Window() for name in STREAMS}
        self._change()

    def end(self, state: str, result: Mapping[str, Any] | None = None) -> None:
        """It has ended. Nothing changes it afterwards."""
        if not self.ended:
            self.state, self.step, self.result, self.ended = state, "", result, time.monotonic()
            self._change()
            self._over(self)

    async def change(self, version: int, seconds: float | None) -> bool:
        """Whether there was one since that version, by then."""
        if self.version == version and (seconds is None or seconds > 0):
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(woken)
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await woken
            finally:
                self._waiting.discard(woken)
        return self.version != version

    async def until_ended(self, seconds: float | None) -> bool:
        """Whether it has ended, by then."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self.ended:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            await self.change(self.version, left)
        return True

    def _change(self) -> None:
        self.version += 1
        for woken in self._waiting:
            if not woken.done():
                woken.set_result(None)


class Lives:
    """All runs that can be seen now, by their ids; those that ended are forgotten after ``keep`` seconds, and earlier
    when they are more than ``most``, or their results longer than ``size`` together."""

    def __init__(self, keep: float = 60.0, most: int = 256, size: int = SIZE) -> None:
        self._keep, self._most, self._size = keep, most, size
        self._all: dict[str, Live] = {}
        self._ended: deque[tuple[Live, int]] = deque()  # in the order of their ends, with how long their results are
        self._sum = 0

    def make(self, id: str, tenant: str) -> Live:
        """A new one, or the one of this id that has not ended."""
        self._forget()
        found = self._all.get(id)
        if found is None:
            found = self._all[id] = Live(id, tenant, self._over)
        return found

    def get(self, id: str, tenant: str) -> Live | None:
        """None: it is not to be seen, or another tenant's."""
        found = self._all.get(id)
        return found if found is not None and found.tenant == tenant else None

    def count(self, state: str) -> int:
        """How many that can be seen are in this state."""
        return sum(live.state == state for live in list(self._all.values()))

    def drop(self, id: str) -> None:
        """It never came to be."""
        self._all.pop(id, None)

    def _over(self, live: Live) -> None:
        self._ended.append((live, length(live.result)))
        self._sum += self._ended[-1][1]
        self._forget()

    def _forget(self) -> None:
        before = time.monotonic() - self._keep
        while self._ended and (
            len(self._ended) > self._most or self._sum > self._size or self._ended[0][0].ended < before
        ):
            live, long = self._ended.popleft()
            self._sum -= long
            if self._all.get(live.id) is live:
                del self._all[live.id]


def length(value: object) -> int:
    """Characters and bytes of a value of JSON, about."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, Mapping):
        return sum(length(key) + length(inner) for key, inner in value.items())
    return sum(map(length, value)) if isinstance(value, (list, tuple)) else 8
