"""One command on its way through an event loop: `_run.execute` without a thread that waits.

Only what may take long (a new keeper, files in and out, the end of a keeper) goes to a few threads that all share.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol, TypeVar

from pyjail import _expired, _prepare, _run, _upkeep
from pyjail._command import Command
from pyjail._errors import HostError, JailError, SetupError
from pyjail._gate import Place
from pyjail._keeper import Keeper, Lease
from pyjail._loops import Loop, current
from pyjail._native import lib
from pyjail._result import Result
from pyjail._talk import KEPT_OUTPUT, Gone
from pyjail._threads import Threads
from pyjail._warm import Source

T = TypeVar("T")
HELPERS = 4
LARGE = 1 << 18  # bytes of input that are copied by a helper
threads = Threads(HELPERS, "pyjail-aio")


async def in_thread(loop: Loop, call: Callable[[], T]) -> T:
    """Its outcome, however often this task is cancelled meanwhile."""
    return await outcome_of(loop, threads.submit(call))


async def outcome_of(loop: Loop, future: Future[T]) -> T:
    """What a helper comes to, however often this task is cancelled meanwhile."""
    flag = loop.flag()
    future.add_done_callback(lambda _: flag.set())
    await loop.wait(flag, shield=True)
    return future.result()


class Flight:
    """A run of one task. Nothing of it is left when `result` has returned or raised."""

    def __init__(self, command: Command, source: Source) -> None:
        self.loop = current()
        self.command = command
        self.source = source
        self.keeper: Keeper | None = None
        self.lease: Lease = []
        self.lock = threading.Lock()
        self.helped = self.abandoned = False
        flag = self.loop.flag()
        self.admitted = flag
        self.place = Place(source.gate, flag.set)

    async def result(self, check: bool = False) -> Result:
        """The whole way, `Place` included."""
        deadline = _run.deadline_of(self.command)
        flying.add(self)
        try:
            if not self.source.gate.enter(self.place):
                await self.loop.wait(self.admitted, self.source.patience(deadline))
            self.command = self.source.fitted(self.command, self.place)
            try:
                result = await self._attempt(deadline)
            except (SetupError, HostError) as e:
                if not _run.outdated(e):
                    raise
                _prepare.look_again()
                result = await self._attempt(deadline)
            self.loop.checkpoint()
        except GeneratorExit:  # the loop was closed: nobody can be waited for
            self.abandon()
            raise
        except BaseException:
            self.abandoned = True  # a helper of which nobody knows cleans up behind itself
            await self._drop()  # should this have been interrupted between two steps
            self.loop.checkpoint()
            raise
        finally:
            flying.discard(self)
            self.place.leave()
        if check:
            result.check_returncode()
        return result

    async def _attempt(self, deadline: float | None) -> Result:
        command, keepers = self.command, self.source.keepers
        known = (command.jail, command.limits)
        plan = _prepare.prepare(command) if known in _known else await self._help(partial(_prepare.prepare, command))
        _known[known] = None
        if len(_known) > 1024:
            _known.clear()
        while True:
            self.keeper = _run.ready(plan, command, keepers, self.lease)
            if self.keeper is None:
                await self._help(partial(self._start, plan))
            try:
                outcome = await self._turn(plan, deadline)
            except _run.IdleDeath:
                keeper = self._forget()
                await self._help(partial(_run.forsake, keeper, keepers))
                continue
            except GeneratorExit:
                raise
            except BaseException:
                await self._drop()
                raise
            keeper = self._forget()
            if _run.usable(command, outcome) and len(keepers.keepers) < keepers.most:  # else one is ended
                return _run.settle(keeper, command, outcome, keepers)
            return await self._help(partial(_run.settle, keeper, command, outcome, keepers))

    def _start(self, plan: _prepare.Plan) -> None:
        self.keeper = _run.start(plan, self.command, self.source.keepers, self.lease)

    async def _turn(self, plan: _prepare.Plan, deadline: float | None) -> _run.Outcome:
        keeper, command = self.keeper, self.command
        assert keeper is not None
        self.loop.checkpoint()
        if command.files or len(command.input or b"") > LARGE:
            outcome = await self._help(partial(_run.begin, keeper, command, plan))
        else:
            outcome = _run.begin(keeper, command, plan)
        if outcome is not None:
            return outcome
        try:
            keeper.watched = True
            left = None if deadline is None else max(0.001, deadline - time.monotonic())
            if not await self._readable(keeper, left):
                return await self._stop(keeper)
        except GeneratorExit:
            raise
        except BaseException:
            if _run.usable(command, stopped := await self._stop(keeper)):
                self._forget()
                with contextlib.suppress(JailError):
                    _run.settle(keeper, command, stopped, self.source.keepers)
            raise
        if command.collect or any(os.fstat(fd.number).st_size > KEPT_OUTPUT for fd in keeper.outputs):
            return await self._help(partial(_run.conclude, keeper, command, plan.run))
        return _run.conclude(keeper, command, plan.run)

    async def _readable(self, keeper: Keeper, seconds: float | None, *, shield: bool = False) -> bool:
        try:
            return await self.loop.readable(keeper.sock.fileno(), seconds, shield=shield)
        finally:
            with contextlib.suppress(OSError):
                keeper.sock.settimeout(None)  # uvloop has made the fd non-blocking

    async def _stop(self, keeper: Keeper) -> _run.Outcome:
        """End the run in progress, whatever else happens to this task."""
        with contextlib.suppress(Gone):
            keeper.send(lib.OP_KILL)
            if await self._readable(keeper, _run.KILL_PATIENCE_S, shield=True):
                return _expired.expired(keeper, self.command)
        keeper.hang_up()
        return _expired.expired(keeper, self.command)

    async def _drop(self) -> None:
        """End the keeper, unless it has been given back; wait until it is gone."""
        if self.keeper is not None:
            self._forget().hang_up()
        if any(keeper.lease is self.lease for keeper in self.lease):
            await self._help(partial(self.source.keepers.abandon, self.lease))

    def _forget(self) -> Keeper:
        assert self.keeper is not None
        keeper, self.keeper = self.keeper, None
        keeper.watched = False
        return keeper

    async def _help(self, call: Callable[[], T]) -> T:
        """By a helper; should this flight be abandoned meanwhile, the helper cleans up behind itself."""

        def helper() -> T:
            try:
                return call()
            finally:
                with self.lock:
                    self.helped = False
                    left = self.abandoned
                if left:
                    self._clean_up()

        self.helped = True
        try:
            future = threads.submit(helper)
        except BaseException:
            self.helped = False
            raise
        return await outcome_of(self.loop, future)

    # ---- when the loop is gone ----

    def abandon(self) -> None:
        """No task goes on with this: end it from here."""
        with self.lock:
            self.abandoned = True
            helped = self.helped
        if self.keeper is not None:
            self.keeper.hang_up()
        if not helped:
            self._clean_up()
        self.place.leave()

    def _clean_up(self) -> None:
        keeper, self.keeper = self.keeper, None
        if keeper is not None:
            keeper.watched = False
        self.source.keepers.abandon(self.lease)


class Airborne(Protocol):
    """A call of a task, with what it has; ``abandon()`` when the loop is closed."""

    loop: Loop
    keeper: Keeper | None

    def abandon(self) -> None: ...


class _Flying:
    """All flights of this process; those of closed loops are ended."""

    def __init__(self) -> None:
        self.flights: set[Airborne] = set()
        self.tended = False

    def add(self, flight: Airborne) -> None:
        if not self.tended:
            _upkeep.add(self)
            self.tended = True
        self.flights.add(flight)

    def discard(self, flight: Airborne) -> None:
        self.flights.discard(flight)

    def tend(self) -> None:
        for flight in list(self.flights):
            if flight.loop.closed:
                self.flights.discard(flight)
                flight.abandon()


flying = _Flying()
_known: dict[Any, None] = {}  # what was compiled before, so that it is found without waiting


def _after_fork() -> None:
    """In the child: the loops and their runs are the parent's."""
    for flight in flying.flights:
        flight.keeper = None
    flying.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_after_fork)
