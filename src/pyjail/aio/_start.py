"""`pyjail.aio.start`: start a program from an event loop, without waiting in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from pyjail._base.fds import Fd
from pyjail._base.loops import Loop, current
from pyjail._live import process as live_process
from pyjail._live import streams as live_streams
from pyjail._live.process import Process
from pyjail._run import run
from pyjail._run.turn import Turn
from pyjail._spec.jail import Jail, Limits
from pyjail.aio._flight import flying, in_thread, outcome_of, threads
from pyjail.aio._process import AsyncProcess, end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

    from pyjail._spec.parameters import Args, Live


async def start(
    args: Args,
    limits: Limits | None = None,
    *,
    jail: Jail | None = None,
    pty: bool | tuple[int, int] = False,
    **options: Unpack[Live],
) -> AsyncProcess:
    """`pyjail.start`, awaitable: a program in a jail to talk to while it runs. All limits hold meanwhile.

    It does not wait for a place as `pyjail.aio.run` does: programs that wait for each other must all run. Cancelling
    this leaves nothing running.

    Args:
        Those of `pyjail.start`. With ``pty=`` stdin and stdout are both of the terminal.

    Returns:
        An `AsyncProcess`.

    Raises: what `pyjail.start` raises. RuntimeError: no asyncio or trio loop runs here.

    >>> import asyncio, pyjail
    >>> async def main():
    ...     async with await pyjail.aio.start(["cat"], text=True) as p:
    ...         p.stdin.write("hello\\n")
    ...         await p.stdin.drain()
    ...         return await p.stdout.readline()
    >>> asyncio.run(main())
    'hello\\n'
    """
    streams = live_streams.taken(options, pty)
    return await started(streams, lambda: Turn(streams.command(args, limits, jail, options), run.idle))


async def started(
    streams: live_streams.Streams, make: Callable[[], Turn], kind: type[AsyncProcess] = AsyncProcess
) -> AsyncProcess:
    """A program that has these streams, of the turn that is made of them. It closes them, whatever comes out."""
    try:
        loop = current()
        turn = make()
        ours = streams.ours
        if turn.command.terminal:
            ours = [Fd(os.dup, streams.terminal.number), streams.terminal, Fd()]
        streams.ours, streams.terminal = [Fd(), Fd(), Fd()], Fd()  # they are this process's, and not files of `Process`
    except BaseException:
        streams.close()
        raise
    try:
        starting = _Starting(loop, ours)
        try:
            flying.add(starting)
            starting.future = threads.submit(_launch, turn, streams)
        except BaseException:
            flying.discard(starting)
            streams.close()
            raise
        try:
            process = await outcome_of(loop, starting.future)
        except GeneratorExit:
            starting.abandon()
            raise
        finally:
            flying.discard(starting)
        try:
            loop.checkpoint()
        except BaseException:
            await in_thread(loop, partial(end, process))
            raise
        return kind(process, turn, ours)
    except BaseException:
        for fd in ours:
            fd.close()
        raise


class _Starting:
    """A start that a task waits for. The loop is closed, and nobody will take what the helper brings: `abandon`."""

    def __init__(self, loop: Loop, ours: list[Fd]) -> None:
        self.loop, self.ours = loop, ours
        self.future: Future[Process] | None = None

    def abandon(self) -> None:
        future, self.future = self.future, None
        if future is not None:
            future.add_done_callback(_discard)
        for fd in self.ours:
            fd.close()


def _launch(turn: Turn, streams: live_streams.Streams) -> Process:
    try:
        return live_process.launch(turn, streams)
    finally:
        streams.close()  # what is lent


def _discard(future: Future[Process]) -> None:
    if future.exception() is None:
        end(future.result())
