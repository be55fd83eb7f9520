"""`pyjail.aio.start`: start a program from an event loop, without waiting in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from pyjail import _process, _request, _run, _streams
from pyjail._aprocess import AsyncProcess, end
from pyjail._fds import Fd
from pyjail._flight import in_thread, outcome_of, threads
from pyjail._loops import current
from pyjail._process import Process
from pyjail._request import Request
from pyjail._spec import PIPE, Jail, Limits


async def start(
    args: Sequence[str | bytes | os.PathLike[str]],
    limits: Limits | None = None,
    *,
    jail: Jail | None = None,
    stdin: Any = PIPE,
    stdout: Any = PIPE,
    stderr: Any = PIPE,
    pty: bool | tuple[int, int] = False,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    files: Mapping[str, Any] | None = None,
    collect: Sequence[str] = (),
    text: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    universal_newlines: bool | None = None,
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
    loop = current()
    text = _request.text_mode(text, universal_newlines, None, None, None)
    streams = _streams.Streams(stdin, stdout, stderr, pty)
    try:
        request = _request.make(
            args, limits, jail, None, *streams.theirs, env, cwd, files, collect, text, encoding, errors, None
        )
        request = request._replace(terminal=streams.terminal.number >= 0)
        ours = streams.ours
        if request.terminal:
            ours = [Fd(os.dup, streams.terminal.number), streams.terminal, Fd()]
        streams.ours, streams.terminal = [Fd(), Fd(), Fd()], Fd()  # they are this process's, and not files of `Process`
    except BaseException:
        streams.close()
        raise
    try:
        try:
            future = threads.submit(_launch, request, streams)
        except BaseException:
            streams.close()
            raise
        try:
            process = await outcome_of(loop, future)
        except GeneratorExit:  # the loop is closed: nobody will take what the helper brings
            future.add_done_callback(_discard)
            raise
        try:
            loop.checkpoint()
        except BaseException:
            await in_thread(loop, partial(end, process))
            raise
        return AsyncProcess(process, request, ours)
    except BaseException:
        for fd in ours:
            fd.close()
        raise


def _launch(request: Request, streams: _streams.Streams) -> Process:
    try:
        return _process.launch(request, streams, _run.idle)
    finally:
        streams.close()  # what is lent


def _discard(future: Future[Process]) -> None:
    if future.exception() is None:
        end(future.result())
