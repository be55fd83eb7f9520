"""Jails for event loops: asyncio (with uvloop, too) and trio, by itself or below anyio.

No thread waits for a run: the loop watches the keeper's socket, and four helper threads, shared by all, do what takes
long (a new keeper, files in and out). A task that is cancelled is cancelled when its jail is gone, not earlier. A loop
that is closed with runs in flight takes their jails with it, within a second.

>>> import asyncio, pyjail
>>> async def main():
...     return await asyncio.gather(*(pyjail.aio.run(["echo", str(i)]) for i in range(3)))
>>> [r.stdout for r in asyncio.run(main())]
[b'0\\n', b'1\\n', b'2\\n']
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pyjail._base import lazy
from pyjail._base.errors import SpecError
from pyjail._base.gate import Gate
from pyjail._base.loops import current
from pyjail._many.pool import CommandLike, parameters
from pyjail._many.warm import Source, Warm, Warmed
from pyjail._result.result import Result
from pyjail._run import run as run_module
from pyjail._spec import commands as spec_commands
from pyjail._spec.jail import Jail, Limits
from pyjail.aio._flight import Flight, in_thread
from pyjail.aio._process import AsyncProcess
from pyjail.aio._reader import AsyncReader
from pyjail.aio._start import start
from pyjail.aio._writer import AsyncWriter

if TYPE_CHECKING:
    from typing import Unpack, overload

    from pyjail import grading, languages
    from pyjail._interact.interact import interact as _interact
    from pyjail._many.measure import measure as _measure
    from pyjail._spec.parameters import (
        Args,
        AsBytes,
        AsText,
        Encoded,
        Options,
    )
    from pyjail.aio._box import Box
    from pyjail.aio._interpreter import Interpreter
    from pyjail.aio._session import Session
    from pyjail.aio._twin import twin

    judge_source = twin(languages.judge_source, lambda: None)
    prepare = twin(languages.prepare, lambda: None)
    interact = twin(_interact, lambda: None)
    measure = twin(_measure, lambda: None)
    check_correctness = twin(grading.check_correctness, lambda: None)
    check_function = twin(grading.check_function, lambda: None)
    run_tests = twin(grading.run_tests, lambda: None)

_CLASSES = {"Box": "pyjail.aio._box", "Interpreter": "pyjail.aio._interpreter", "Session": "pyjail.aio._session"}
_TWINS = {
    "judge_source": "pyjail.languages",
    "prepare": "pyjail.languages",
    "interact": "pyjail._interact.interact",
    "measure": "pyjail._many.measure",
    "check_correctness": "pyjail.grading",
    "check_function": "pyjail.grading",
    "run_tests": "pyjail.grading",
}
__all__ = [
    "AsyncProcess",
    "AsyncReader",
    "AsyncWriter",
    "Box",
    "Interpreter",
    "Pool",
    "Session",
    "check_correctness",
    "check_function",
    "interact",
    "judge_source",
    "measure",
    "prepare",
    "run",
    "run_tests",
    "set_concurrency",
    "start",
]


def __dir__() -> list[str]:
    return sorted(__all__)


PER_CPU, AT_LEAST = 4, 8
_source = Source(
    Gate(max(AT_LEAST, PER_CPU * len(os.sched_getaffinity(0)))),
    run_module.idle,
    None,
    "Raise the timeout, or let more run at once: pyjail.aio.set_concurrency(n).",
)
os.register_at_fork(after_in_child=_source.gate.forget)


def __getattr__(name: str) -> Any:
    """What is made when it is asked for: classes, and the awaitable version of what waits for several runs."""
    if name not in _CLASSES and name not in _TWINS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    with lazy.lock:
        if name in _CLASSES:
            made = getattr(importlib.import_module(_CLASSES[name]), name)
        else:
            found = getattr(importlib.import_module(_TWINS[name]), name)
            made = importlib.import_module("pyjail.aio._twin").twin(found, lambda: _source.gate)
    globals()[name] = made
    return made


if TYPE_CHECKING:

    @overload
    async def run(
        args: Args, limits: Limits | None = None, *, jail: Jail | None = None, **options: Unpack[AsText]
    ) -> Result[str]: ...
    @overload
    async def run(
        args: Args, limits: Limits | None = None, *, jail: Jail | None = None, **options: Unpack[Encoded]
    ) -> Result[str]: ...
    @overload
    async def run(
        args: Args, limits: Limits | None = None, *, jail: Jail | None = None, **options: Unpack[AsBytes]
    ) -> Result[bytes]: ...
    @overload
    async def run(
        args: Args, limits: Limits | None = None, *, jail: Jail | None = None, **options: Unpack[Options]
    ) -> Result[Any]: ...


async def run(
    args: Args, limits: Limits | None = None, *, jail: Jail | None = None, **options: Unpack[Options]
) -> Result:
    """`pyjail.run`, awaitable: the same parameters, results and exceptions.

    Cancelling it kills the jail, and is raised when the jail is gone. Any number may be awaited at once: four per CPU
    of this process (but eight at least) run, the others wait and are served in the order of coming; see
    `set_concurrency`. ``timeout`` counts from the call, so the wait is in it: `PoolExhaustedError` (a
    `TimeoutExpired`) when it ends before the program was started.

    Args:
        Those of `pyjail.run`.

    Raises:
        What `pyjail.run` raises. PoolExhaustedError: see above. RuntimeError: no asyncio or trio loop runs here.

    >>> import asyncio, pyjail
    >>> asyncio.run(pyjail.aio.run(["echo", "hello"])).stdout
    b'hello\\n'
    """
    check = options.pop("check", False)
    return await Flight(spec_commands.make(args, limits, jail, **options), _source).result(check)


def set_concurrency(n: int) -> None:
    """How many jails of `run` may run at once in this process, all event loops together; 1 to 4096.

    More of them share the same CPUs, so each takes longer: think of ``Limits(wall_time=)``. Those that run already
    stay. A `Pool` counts for itself.

    Raises:
        SpecError: no such number.

    >>> import pyjail
    >>> pyjail.aio.set_concurrency(16)
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 4096:
        raise SpecError("n", n, "a number of jails from 1 to 4096 is needed")
    _source.gate.resize(n)


class Pool(Warmed):
    """`pyjail.Pool` for event loops: the same parameters, its methods awaitable.

    ``async with`` starts the warm keepers, and ends them. Without it keepers are started when they are needed, and
    `close` ends them.

    Args, Raises:
        Those of `pyjail.Pool`; what starting a keeper raises is raised by ``async with``, or by the run in need.

    >>> import asyncio, pyjail
    >>> async def main():
    ...     async with pyjail.aio.Pool(2) as pool:
    ...         return [r.stdout for r in await pool.map([["echo", "1"], ["echo", "2"]])]
    >>> asyncio.run(main())
    [b'1\\n', b'2\\n']
    """

    def __init__(
        self,
        size: int,
        jail: Jail | None = None,
        *,
        limits: Limits | None = None,
        warm: int | None = None,
        idle_timeout: float | str | None = 60.0,
        keep: int = 1,
        pin: bool = False,
        timeout: float | str | None = None,
    ) -> None:
        self._warm = Warm(size, jail, limits, warm, idle_timeout, keep, pin, timeout)

    if TYPE_CHECKING:

        @overload
        async def run(self, args: Args, limits: Limits | None = None, **options: Unpack[AsText]) -> Result[str]: ...
        @overload
        async def run(self, args: Args, limits: Limits | None = None, **options: Unpack[Encoded]) -> Result[str]: ...
        @overload
        async def run(self, args: Args, limits: Limits | None = None, **options: Unpack[AsBytes]) -> Result[bytes]: ...
        @overload
        async def run(self, args: Args, limits: Limits | None = None, **options: Unpack[Options]) -> Result[Any]: ...

    async def run(
        self,
        args: Args,
        limits: Limits | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """As `pyjail.Pool.run`; cancelling it is as for `pyjail.aio.run`."""
        return await self._run(args, limits, options)

    async def map(self, commands: Iterable[CommandLike], limits: Limits | None = None, **options: Any) -> list[Result]:
        """Run many commands, ``size`` at a time; all results, in the order of the commands.

        A command is taken from the iterable when there is a task to run it. The first run that raises cancels the
        others, and so does cancelling this.

        Args:
            commands, limits, options: as for `pyjail.Pool.map`.
        """
        source = enumerate(commands)
        results: dict[int, Result] = {}

        async def worker() -> None:
            for i, command in source:
                results[i] = await self._run(*parameters(command, limits, options))

        await current().together([worker] * self.size)
        return [results[i] for i in sorted(results)]

    async def _run(self, args: Any, limits: Limits | None, options: Any) -> Result:
        warm = self._warm
        check = options.pop("check", False)
        command = spec_commands.make(args, warm.limits if limits is None else limits, warm.jail, **options)
        warm.check(command)
        warm.look_after()
        return await Flight(command, warm).result(check)

    async def close(self) -> None:
        """Take no more runs, wait for those that were asked for, end all keepers. Cancelling this is `terminate`."""
        await self._end("this pool is closed", kill=False)

    async def terminate(self) -> None:
        """End all keepers now: programs that run are killed and their verdict is JAIL_ERROR; who waits gets
        `PoolClosedError`."""
        await self._end("this pool was terminated", kill=True)

    async def _end(self, why: str, kill: bool) -> None:
        loop, warm = current(), self._warm
        warm.gate.close(why, refuse=kill)
        empty = loop.flag()
        warm.gate.when_empty(empty.set)
        try:
            if not kill:
                await loop.wait(empty)
        finally:
            await in_thread(loop, partial(warm.end, why))
        await loop.wait(empty, shield=True)
        loop.checkpoint()

    async def __aenter__(self) -> Pool:
        loop = current()
        await in_thread(loop, self._warm.begin)
        try:
            loop.checkpoint()
        except BaseException:
            await in_thread(loop, partial(self._warm.end, "this pool is closed"))
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """`close`; `terminate` when the block is left by an exception."""
        if kind is None:
            await self.close()
        else:
            await self.terminate()
