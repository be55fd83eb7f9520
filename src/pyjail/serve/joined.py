"""Programs that run at the same time, joined by pipes: `run`."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol

from pyjail.serve.job import Job, Outcome, Pipe
from pyjail.serve.piped import Watcher
from pyjail.serve.problem import Problem

CHUNK = 1 << 16


class Ends:
    """Of pipes, those that one program gets.

    Attributes: ``streams``: {"stdin": a number of an fd, ...}, as `pyjail.aio.start` takes them.
    """

    def __init__(self) -> None:
        self.streams: dict[str, int] = {}

    def close(self) -> None:
        """It has its copies: with ours open nobody would see its end. May be called twice."""
        while self.streams:
            os.close(self.streams.popitem()[1])


class One(Protocol):
    """What runs one of them."""

    def __call__(self, job: Job, watcher: Watcher | None, *, ends: Ends) -> Awaitable[Outcome]:
        """What comes of it; ``ends`` are its streams, and are to be closed once it runs."""


async def run(
    jobs: Sequence[Job], pipes: Sequence[Pipe], watchers: Sequence[Watcher | None], one: One
) -> list[Outcome]:
    """What comes of each. Where one raises, the others are ended first; nothing of the pipes is left then."""
    ends = [Ends() for _ in jobs]
    carriers: list[_Carrier] = []
    try:
        for pipe in pipes:
            carriers += _carried(pipe, ends)
        programs = zip(jobs, watchers, ends, strict=True)
        outcomes = await _all([_ended(one, job, watcher, mine) for job, watcher, mine in programs])
    finally:
        for mine in ends:
            mine.close()
        await _over(carriers)  # nobody is there to write, or to read
    for carrier in carriers:
        at, name = carrier.pipe.source
        if carrier.pipe.most:
            outcomes[at] = replace(outcomes[at], kept={**outcomes[at].kept, name: carrier.kept()})
    return outcomes


async def _ended(one: One, job: Job, watcher: Watcher | None, ends: Ends) -> Outcome:
    try:
        return await one(job, watcher, ends=ends)
    finally:
        ends.close()  # who could not be started has no end, too


async def _all(work: Sequence[Awaitable[Outcome]]) -> list[Outcome]:
    async def ended(one: Awaitable[Outcome]) -> Outcome:
        return await one

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ended(one)) for one in work]
    except BaseExceptionGroup as e:
        raise e.exceptions[0] from None
    return [task.result() for task in tasks]


def _carried(pipe: Pipe, ends: Sequence[Ends]) -> list[_Carrier]:
    """`_made`. Raises `Problem` 503 where this process has no fds, or no threads, left for it."""
    try:
        return _made(pipe, ends)
    except OSError as e:
        raise Problem(503, "pipes", f"no pipe can be made: {os.strerror(e.errno or errno.EAGAIN)}", retry=1) from None


def _made(pipe: Pipe, ends: Sequence[Ends]) -> list[_Carrier]:
    """One of the kernel, with an end for each of the two; or two, and who carries from one to the other."""
    source, target = ends[pipe.source[0]].streams, ends[pipe.target[0]].streams
    read, source[pipe.source[1]] = _pipe(0o222 if pipe.drained else 0o666)
    if not pipe.drained:
        target[pipe.target[1]] = read
        return []
    try:
        target[pipe.target[1]], write = _pipe(0o444)
    except OSError:
        os.close(read)
        raise
    return [_Carrier(pipe, read, write)]


def _pipe(mode: int) -> tuple[int, int]:
    """One whose ends programs may open once more by their paths, /dev/stdin and /dev/stdout, as far as the mode says:
    it is ours, and for it they are others."""
    ends = os.pipe()
    os.fchmod(ends[0], mode)
    return ends


class _Carrier:
    """A thread of its own: it waits as long as programs do that do not write, or do not read."""

    def __init__(self, pipe: Pipe, read: int, write: int) -> None:
        self.pipe, self._read, self._write = pipe, read, write
        self._kept = bytearray()
        self.over: Future[None] = Future()
        try:
            threading.Thread(target=self._work, name="pyjail-serve-pipe", daemon=True).start()
        except RuntimeError as e:
            self._close()
            raise OSError(errno.EAGAIN, str(e)) from None

    def kept(self) -> bytes:
        """The first bytes that were written."""
        return bytes(self._kept)

    def _work(self) -> None:
        try:
            while data := os.read(self._read, CHUNK):
                self._kept += data[: self.pipe.most - len(self._kept)]
                if self._write >= 0:
                    self._give(data)
        finally:
            self._close()
            self.over.set_result(None)

    def _give(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._write, data) :]
        except BrokenPipeError:  # the reader is gone; the writer is not to see that
            os.close(self._write)
            self._write = -1

    def _close(self) -> None:
        for fd in (self._read, self._write):
            if fd >= 0:
                os.close(fd)


async def _over(carriers: Sequence[_Carrier]) -> None:
    """When all have ended, which they have soon: however often this is cancelled meanwhile."""
    waiting = [asyncio.wrap_future(carrier.over) for carrier in carriers]
    cancelled = False
    while left := [one for one in waiting if not one.done()]:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
