"""`pyjail.aio.Interpreter`: a `pyjail.Interpreter` whose methods are awaited."""

from __future__ import annotations

import inspect
import os
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pyjail._base.loops import Flag, current
from pyjail._spec.jail import Jail, Limits
from pyjail.aio._box import Box
from pyjail.aio._twin import Method, twin
from pyjail.interpreter import Context as SyncContext
from pyjail.interpreter import Execution
from pyjail.interpreter import Interpreter as Sync

if TYPE_CHECKING:
    from pyjail.interpreter import Display

    Callback = Callable[[Any], object]
    Awaited = Callable[..., Coroutine[Any, Any, Any]]

_END = "end"


def _interrupt(context: SyncContext, *args: Any, **kwargs: Any) -> None:
    context.interrupt()


_run: Callable[..., Coroutine[Any, Any, Execution]] = twin(SyncContext.run, lambda: None, _interrupt, scoped=False)


class _Told:
    """What a cell's thread has to tell, on its way to the callbacks, which belong to the task's loop."""

    def __init__(self, callbacks: Mapping[str, Callback | None]) -> None:
        self.callbacks = {name: call for name, call in callbacks.items() if call is not None}
        self.queue: deque[tuple[str, Any]] = deque()
        self.flag: Flag = current().flag()
        self.made: list[Execution] = []

    def tell(self, name: str, value: Any = None) -> None:
        """From any thread."""
        self.queue.append((name, value))
        self.flag.set()

    async def pass_on(self) -> None:
        """Call them, one after the other; what they return is awaited when it can be."""
        while True:
            await current().wait(self.flag)
            self.flag = current().flag()  # first: what is told from now on sets this one
            while self.queue:
                name, value = self.queue.popleft()
                if name == _END:
                    return
                answer = self.callbacks[name](value)
                if inspect.isawaitable(answer):
                    await answer

    async def run(self, context: SyncContext, code: str, options: dict[str, Any]) -> None:
        """Run the cell."""
        hear = {name: partial(self.tell, name) for name in self.callbacks}
        try:
            self.made.append(await _run(context, code, **options, **hear))
        finally:
            self.tell(_END)


class Context:
    """`pyjail.interpreter.Context` for event loops: an interpreter of its own over the box of an `Interpreter`.

    Attributes:
        Those of `pyjail.interpreter.Context`.
    """

    def __init__(self, context: SyncContext) -> None:
        self._sync = context

    @property
    def id(self) -> int:
        """Its number, 0 for an interpreter's own."""
        return self._sync.id

    @property
    def history(self) -> tuple[str, ...]:
        """The cells that have succeeded, in order: also those whose state is lost, but none before a `restart`."""
        return self._sync.history

    async def run(
        self,
        code: str,
        timeout: float | str | None = "default",
        *,
        on_stdout: Callable[[str], object] | None = None,
        on_stderr: Callable[[str], object] | None = None,
        on_result: Callable[[Display], object] | None = None,
    ) -> Execution:
        """Run a cell: see `Interpreter.run`."""
        options = {} if timeout == "default" else {"timeout": timeout}
        told = _Told({"on_stdout": on_stdout, "on_stderr": on_stderr, "on_result": on_result})
        if not told.callbacks:
            return await _run(self._sync, code, **options)
        await current().together([partial(told.run, self._sync, code, options), told.pass_on])
        return told.made[0]

    if TYPE_CHECKING:
        start: Callable[[], Coroutine[Any, Any, None]]
        restart: Callable[[], Coroutine[Any, Any, None]]
        replay: Callable[..., Coroutine[Any, Any, list[Execution]]]
        remove: Callable[[], Coroutine[Any, Any, None]]
    else:
        start = Method(SyncContext.start)
        restart = Method(SyncContext.restart)
        replay = Method(SyncContext.replay, _interrupt, scoped=False)
        remove = Method(SyncContext.remove, anyway=True)

    def interrupt(self) -> None:
        """Interrupt the cell that runs: `pyjail.interpreter.Context.interrupt`. Does not wait."""
        self._sync.interrupt()


class Interpreter:
    """`pyjail.Interpreter` for event loops: the same parameters, its methods awaitable.

    A task that is cancelled in `run` interrupts its cell, and is cancelled when that has ended: state is kept, unless
    the cell had to be killed. Callbacks are called by the task's event loop, and awaited when they can be.

    Args, Attributes, Raises:
        Those of `pyjail.Interpreter`.

    >>> import asyncio, pyjail
    >>> async def main():
    ...     async with pyjail.aio.Interpreter() as python:
    ...         await python.run("x = 20")
    ...         return (await python.run("x + 1")).text
    >>> asyncio.run(main())
    '21'
    """

    def __init__(
        self,
        jail: Jail | None = None,
        limits: Limits | None = None,
        *,
        box: Any = None,
        packages: Sequence[str] = (),
        wheelhouse: str | os.PathLike[str] | None = None,
        cwd: str = "/box",
        env: Mapping[str, str] | None = None,
        timeout: float | str | None = 300.0,
        grace: float | str = 2.0,
        figures: Sequence[str] = ("png",),
        python: str | None = None,
        disk: int | str = "256M",
        max_output: int | str = "16M",
        max_result: int | str = "1M",
        max_results: int | str = "16M",
    ) -> None:
        self._sync = Sync(
            jail, limits, box=getattr(box, "_sync", box), packages=packages, wheelhouse=wheelhouse, cwd=cwd, env=env,
            timeout=timeout, grace=grace, figures=figures, python=python, disk=disk, max_output=max_output,
            max_result=max_result, max_results=max_results,
        )  # fmt: skip
        self._own = Context(self._sync.contexts[0])

    async def run(
        self,
        code: str,
        timeout: float | str | None = "default",
        *,
        context: Context | None = None,
        on_stdout: Callable[[str], object] | None = None,
        on_stderr: Callable[[str], object] | None = None,
        on_result: Callable[[Display], object] | None = None,
    ) -> Execution:
        """`pyjail.Interpreter.run`, awaitable: the same parameters, results and exceptions.

        Callbacks may be coroutine functions. Cancelled, or when a callback raises, it interrupts the cell first.
        """
        where = self._own if context is None else context
        return await where.run(code, timeout, on_stdout=on_stdout, on_stderr=on_stderr, on_result=on_result)

    if TYPE_CHECKING:
        start: Callable[[], Coroutine[Any, Any, None]]
        restart: Callable[[], Coroutine[Any, Any, None]]
        replay: Callable[..., Coroutine[Any, Any, list[Execution]]]
        close: Callable[[], Coroutine[Any, Any, None]]
    else:
        start = Method(Sync.start)
        restart = Method(Sync.restart)
        replay = Method(Sync.replay, _interrupt, scoped=False)
        close = Method(Sync.close, anyway=True)

    def interrupt(self) -> None:
        """Interrupt the cell that runs: `pyjail.interpreter.Context.interrupt`. Does not wait."""
        self._sync.interrupt()

    async def create_context(self, cwd: str | None = None, env: Mapping[str, str] | None = None) -> Context:
        """Another interpreter over the same box: its own process and its own state, the same files."""
        return Context(self._sync.create_context(cwd, env))

    @property
    def contexts(self) -> tuple[Context, ...]:
        """Those that there are; the first is the interpreter's own, unless it was removed."""
        return tuple(self._own if c is self._own._sync else Context(c) for c in self._sync.contexts)

    @property
    def box(self) -> Box:
        """The `pyjail.aio.Box` that it works in. It is made, with its packages, by `start` or when it is first used."""
        return Box.of(self._sync.box)

    @property
    def history(self) -> tuple[str, ...]:
        """The cells that have succeeded, in order: also those whose state is lost, but none before a `restart`."""
        return self._sync.history

    def __repr__(self) -> str:
        return f"aio.{self._sync!r}"

    async def __aenter__(self) -> Interpreter:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
