"""One command on its way through an event loop: `_run.run.execute` without a thread that waits.

Only what may take long (a new keeper, files in and out, the end of a keeper) goes to a few threads that all share.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from pyjail._base import upkeep
from pyjail._base.errors import JailError
from pyjail._base.gate import Place
from pyjail._base.loops import Loop, current
from pyjail._base.threads import Threads
from pyjail._keeper.talk import Gone
from pyjail._many.warm import Source
from pyjail._result.result import Result
from pyjail._run.attempts import NOT_STARTED, Attempts
from pyjail._run.turn import KILL_PATIENCE_S, Turn, deadline_of
from pyjail._spec.commands import Command

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


async def reported(loop: Loop, turn: Turn, seconds: float | None, *, shield: bool = False) -> bool:
    """Whether its report can be read by then, or never will be. Nobody else closes the socket meanwhile."""
    keeper = turn.keeper
    fd = keeper.sock.fileno()
    if fd < 0:
        return True
    keeper.watched = True
    try:
        return await loop.readable(fd, seconds, shield=shield)
    finally:
        keeper.watched = False
        with contextlib.suppress(OSError):
            keeper.sock.settimeout(None)  # uvloop has made the fd non-blocking


class Flight:
    """A run of one task. Nothing of it is left when `result` has returned or raised."""

    def __init__(self, command: Command, source: Source) -> None:
        self.loop = current()
        self.command = command
        self.source = source
        self.turn: Turn | None = None
        self.lock = threading.Lock()
        self.helped = self.abandoned = False
        flag = self.loop.flag()
        self.admitted = flag
        self.place = Place(source.gate, flag.set)

    async def result(self, check: bool = False) -> Result:
        """The whole way, `Place` included."""
        deadline = deadline_of(self.command)
        flying.add(self)
        try:
            if not self.source.gate.enter(self.place):
                await self.loop.wait(self.admitted, self.source.patience(deadline))
            command = self.source.fitted(self.command, self.place)
            self.turn = turn = self.source.turn(command, deadline)
            result = await self._run(turn)
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

    async def _run(self, turn: Turn) -> Result:
        attempts = Attempts()
        while True:
            try:
                await self._open(turn)
                await self._let_end(turn)
                return await self._end(turn)
            except NOT_STARTED as e:
                if not attempts.again(e):
                    raise

    async def _open(self, turn: Turn) -> None:
        known = (turn.command.jail, turn.command.limits)
        if known in _known:
            turn.prepare()
        else:
            await self._help(turn.prepare)
        _known[known] = None
        if len(_known) > 1024:
            _known.clear()
        if not turn.take():
            await self._help(turn.start)

    async def _let_end(self, turn: Turn) -> None:
        command = turn.command
        self.loop.checkpoint()
        if turn.prepares or len(command.input or b"") > LARGE:
            await self._help(turn.begin)
        else:
            turn.begin()
        if turn.outcome is not None:
            return
        try:
            if not await reported(self.loop, turn, turn.left()):
                await self._stop(turn)
        except GeneratorExit:
            raise
        except BaseException:
            await self._stop(turn)
            if turn.usable:
                with contextlib.suppress(JailError):
                    turn.put_away()
            raise
        turn.wait()

    async def _stop(self, turn: Turn) -> None:
        """End the run in progress, whatever else happens to this task."""
        with contextlib.suppress(Gone):
            turn.kill()
            if await reported(self.loop, turn, KILL_PATIENCE_S, shield=True):
                turn.expire()
                return
        turn.hang_up()
        turn.expire()

    async def _end(self, turn: Turn) -> Result:
        if turn.outcome is None and turn.bulky:
            return await self._help(turn.end)
        turn.read()
        keepers = turn.keepers
        if turn.usable and len(keepers.keepers) < keepers.most:  # else one is ended
            return turn.end()
        return await self._help(turn.end)

    async def _drop(self) -> None:
        """End the keeper, unless it has been given back; wait until it is gone."""
        if self.turn is not None:
            self.turn.hang_up()
            if self.turn.holds:
                await self._help(self.turn.abandon)

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
        if self.turn is not None:
            self.turn.hang_up()
        if not helped:
            self._clean_up()
        self.place.leave()

    def _clean_up(self) -> None:
        if self.turn is not None:
            self.turn.unwatched()  # a loop that is closed has nobody's socket in its set
            self.turn.abandon()


class Airborne(Protocol):
    """A call of a task; ``abandon()`` when the loop is closed."""

    loop: Loop

    def abandon(self) -> None: ...


class _Flying:
    """All flights of this process; those of closed loops are ended."""

    def __init__(self) -> None:
        self.flights: set[Airborne] = set()
        self.tended = False

    def add(self, flight: Airborne) -> None:
        if not self.tended:
            upkeep.add(self)
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
    _Flying.__init__(flying)


os.register_at_fork(after_in_child=_after_fork)
