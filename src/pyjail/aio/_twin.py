"""One mechanism that makes what waits awaitable: in a thread of its own, whose jails end when its task is cancelled.

Every jail of a call is lent by `Idle` to the thread that called, or to one that was started on its behalf and has its
context. The scope of the call is told of each, so a task that is cancelled ends them and lends no more: what the call
would have returned is thrown away, and the cancellation is raised when its thread is done.
"""

from __future__ import annotations

import errno
import functools
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, ParamSpec, TypeVar

from pyjail._base.gate import Gate, Place
from pyjail._base.loops import current
from pyjail._keeper import store
from pyjail._keeper.keeper import Keeper
from pyjail.aio._flight import flying

P = ParamSpec("P")
T = TypeVar("T")


class Ended(BaseException):
    """The task that this thread works for was cancelled. No ``except Exception`` may go on then."""


class Scope:
    """The jails of one call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lent: list[tuple[store.Idle, Keeper, Any]] = []
        self._ended = False

    def check(self) -> None:
        """Raise `Ended` when no jail may be had any more."""
        if self._ended:
            raise Ended

    def lent(self, idle: store.Idle, keeper: Keeper) -> None:
        """This one works for the call, until it is given back."""
        with self._lock:
            self._lent = [one for one in self._lent if one[1].lease is one[2]]
            self._lent.append((idle, keeper, keeper.lease))
        self.check()  # who is told that takes it back

    def end(self) -> None:
        """End the jails that it has now, and give it no more. From any thread; does not wait."""
        with self._lock:
            self._ended = True
            lent = list(self._lent)
        for idle, _, lease in lent:
            idle.hang_up(lease)


_scope: ContextVar[Scope | None] = ContextVar("pyjail-scope", default=None)


def _check() -> None:
    scope = _scope.get()
    if scope is not None:
        scope.check()


def _lent(idle: store.Idle, keeper: Keeper) -> None:
    scope = _scope.get()
    if scope is not None:
        scope.lent(idle, keeper)


store.scopes = (_check, _lent)


def twin(
    call: Callable[P, T],
    gate: Callable[[], Gate | None],
    cancel: Callable[P, object] | None = None,
    *,
    scoped: bool = True,
    anyway: bool = False,
) -> Callable[P, Coroutine[Any, Any, T]]:
    """An awaitable version of ``call``, for asyncio and trio: same parameters, result and exceptions.

    Args:
        gate: makes those who come after so many wait; None: nobody waits.
        cancel: called with the arguments when the task is cancelled, besides the end of the call's own jails.
        scoped: False: a cancellation ends no jail, but for what ``cancel`` does, and is raised when the call is done.
        anyway: without a thread to be had it is called here, and the loop waits: an end is not put off.
    """

    @functools.wraps(call)
    async def awaitable(*args: P.args, **kwargs: P.kwargs) -> T:
        doors = gate()
        made = functools.partial(call, *args, **kwargs)
        task = _Call(doors, made, cancel and functools.partial(cancel, *args, **kwargs), scoped, anyway)
        value: T = await task.result()
        return value

    return awaitable


class _Call:
    """One call of a task; to `flying` it is what a flight is."""

    def __init__(
        self,
        gate: Gate | None,
        call: Callable[[], Any],
        cancel: Callable[[], object] | None,
        scoped: bool,
        anyway: bool,
    ) -> None:
        self.loop = current()
        self.call, self.cancel, self.scoped, self.anyway = call, cancel, scoped, anyway
        self.scope = Scope()
        self.admitted, self.done = self.loop.flag(), self.loop.flag()
        self.gate, self.place = gate, None if gate is None else Place(gate, self.admitted.set)
        self.outcome: list[tuple[Any, BaseException | None]] = []

    async def result(self) -> Any:
        """Nothing of it is left when this has returned or raised."""
        flying.add(self)
        try:
            if self.gate is not None and self.place is not None and not self.gate.enter(self.place):
                await self.loop.wait(self.admitted)
            self.loop.checkpoint()
            await self._ended()
            self.loop.checkpoint()
        except GeneratorExit:  # the loop was closed: nobody can be waited for
            self.abandon()
            raise
        finally:
            flying.discard(self)
            if self.place is not None:
                self.place.leave()
        value, error = self.outcome.pop()
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # else the traceback refers to itself

    async def _ended(self) -> None:
        try:
            context = copy_context()
            threading.Thread(target=context.run, args=(self._work,), name="pyjail-aio-call", daemon=True).start()
        except RuntimeError as e:
            if self.anyway:
                self._work()
                return
            raise OSError(errno.EAGAIN, f"{e}: raise RLIMIT_NPROC or the cgroup's pids.max") from None
        try:
            await self.loop.wait(self.done, shield=not self.scoped and self.cancel is None)
        except GeneratorExit:
            raise
        except BaseException:
            self._stop()
            await self.loop.wait(self.done, shield=True)
            raise

    def _work(self) -> None:
        _scope.set(self.scope if self.scoped else None)
        try:
            self.scope.check()
            self.outcome.append((self.call(), None))
        except BaseException as e:
            self.outcome.append((None, e))
        finally:
            self.done.set()

    def _stop(self) -> None:
        self.scope.end()
        if self.cancel is not None:
            self.cancel()

    def abandon(self) -> None:
        """Nobody waits for it any more: its thread cleans up behind itself."""
        self._stop()
        if self.place is not None:
            self.place.leave()


class Method:
    """An awaitable method that calls the one of this name of the object's ``_sync``."""

    def __init__(
        self,
        call: Callable[..., Any],
        cancel: Callable[..., object] | None = None,
        *,
        scoped: bool = True,
        anyway: bool = False,
    ) -> None:
        self._twin = twin(call, lambda: None, cancel, scoped=scoped and cancel is not None, anyway=anyway)
        functools.update_wrapper(self, call)  # type: ignore[arg-type]

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self._twin, instance._sync)
