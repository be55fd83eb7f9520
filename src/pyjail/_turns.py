"""Whose turn it is in a session, and its keeper: what holds whoever is interrupted, dropped or forked at any step."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from pyjail import _command, _idle, _outcome, _prepare, _process, _run, _streams
from pyjail._command import Command
from pyjail._errors import KeeperError, SpecError
from pyjail._history import History
from pyjail._keeper import Keeper
from pyjail._result import Result
from pyjail._shared import SharedKeeper
from pyjail._spec import Jail, Limits
from pyjail._undecoded import OutputDecodeError

T = TypeVar("T")
_INTERRUPTED = "a program was interrupted or forgotten, and its session lost with it"


class Turn:
    """One program's at a time, until it is over or nobody has it any more."""

    __slots__ = ("__weakref__", "over")

    def __init__(self) -> None:
        self.over = False


class Turns:
    """The keeper of a `Session`, and one program at a time in it."""

    def __init__(self, jail: Jail, limits: Limits) -> None:
        self.jail, self.limits = jail, limits
        self._history = History()
        self._keepers = _idle.Idle(0)
        self._keeper: SharedKeeper | None = None
        self._gone: SharedKeeper | None = None  # whose fds somebody may still use
        self._starting = threading.RLock()  # the collector may end a process of ours while this very thread holds it
        self._turning = threading.RLock()
        self._turn: weakref.ref[Turn] | None = None  # whose it was last
        self._unfinished: str | None = None  # why a program may run whose end nobody has seen
        self._closed: str | None = None
        self._hung_up = False
        self._owner = os.getpid()
        weakref.finalize(self, self._keepers.drop_all).atexit = False  # at exit all keepers end anyway

    @property
    def results(self) -> list[Result]:
        """The last results, in order."""
        return self._history.results

    def _enter(self, turn: Turn, args: Any) -> None:
        """Whoever calls this makes his turn ``over``, whatever comes out: one store, that nothing can come between."""
        self._check()
        with self._turning:
            if not self._is_running():
                self._turn = weakref.ref(turn)
        if self._turn is None or self._turn() is not turn:
            raise SpecError("args", args, "a program of this session runs already: wait for it, or use another session")

    def _alone(self, what: str, call: Callable[[SharedKeeper], T]) -> T:
        turn = Turn()
        try:
            self._enter(turn, what)
            return call(self._ready())
        finally:
            turn.over = True

    def _is_running(self) -> bool:
        turn = None if self._turn is None else self._turn()
        return turn is not None and not turn.over

    def _end_unfinished(self) -> None:
        """A program that nobody waits for any more ends, and its session with it: what it would report is nobody's."""
        if self._unfinished is not None and not self._is_running():
            self._end(self._unfinished)
        self._tidy()

    def _check(self) -> None:
        if self._owner == os.getpid():
            self._end_unfinished()
        if self._closed is not None:
            raise KeeperError(self._closed)
        if self._owner != os.getpid():
            raise KeeperError("this session belongs to the process that was forked from")

    def _ready(self) -> SharedKeeper:
        self._check()
        with self._starting:
            self._check()
            if self._keeper is None:
                self._keepers.close()  # one whose start was interrupted
                plan = _prepare.prepare(_command.make(["true"], self.limits, self.jail))
                _outcome.load()
                self._keeper = self._keepers.start(plan.template, plan.host, None, SharedKeeper)  # type: ignore[assignment]
                assert self._keeper is not None
            return self._keeper

    def _plan(self, command: Command, keeper: Keeper) -> _prepare.Plan:
        plan = _prepare.prepare(command)
        if plan.template != keeper.template:
            cause = "a set of CPUs, or none, for all runs of a session: give the first of its kind to Session(limits=)"
            raise SpecError("limits", command.limits, cause)
        return plan

    def _begin(self, keeper: Keeper, command: Command, plan: _prepare.Plan) -> _run.Outcome | None:
        before, self._unfinished = keeper.turn, _INTERRUPTED
        try:
            with self._told():
                return _run.begin(keeper, command, plan)
        except BaseException:
            if keeper.turn == before:  # nothing was sent
                self._unfinished = None
            raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Of a keeper that was dead before it could start anything."""
        try:
            yield
        except _run.IdleDeath:
            raise self._lost() from None

    def _conclude(self, keeper: Keeper, outcome: _run.Outcome) -> Result | BaseException:
        """The end of a program: the session goes on, or is lost."""
        result, reusable = outcome
        keeper.let_go()
        told = result.result if isinstance(result, OutputDecodeError) else result
        if isinstance(told, Result) and self._unfinished is not None:
            self._history.add(told)
        self._unfinished = None
        if not reusable:
            self._lost()
        return result

    def _lost(self) -> KeeperError:
        keeper = self._keeper
        if self._hung_up:
            self._end(_INTERRUPTED)
        else:
            how = "it was closed" if keeper is None else keeper.how_it_died()
            self._end(f"the session's keeper died ({how}), and its /box with it: start a new session")
        assert self._closed is not None
        return KeeperError(self._closed)

    def _end(self, why: str) -> None:
        if self._owner != os.getpid():
            return
        self._closed, self._unfinished = self._closed or why, None
        self._keepers.close()
        with self._starting:
            self._keepers.close()  # one that was just starting
            self._gone, self._keeper = self._keeper or self._gone, None
        self._tidy()

    def _tidy(self) -> None:
        """Close the fds of a keeper that is gone: another thread that uses them must not meet a stranger's."""
        keeper = self._gone
        if keeper is not None and not self._is_running() and not keeper.used:
            self._gone = None
            keeper.close()

    def hang_up(self) -> None:
        """End what runs, and the session with it. From any thread; does not wait: who does will be told."""
        keeper = self._keeper
        if keeper is not None:
            self._hung_up = True
            keeper.hang_up()

    def _abandon(self, turn: weakref.ref[Turn]) -> None:
        """Nobody will wait for the program of this turn. (Interrupted, this is told by the turn itself, which goes.)"""
        found = turn()
        if found is not None and not found.over:
            found.over = True
            self._end_unfinished()


class SessionProcess(_process.Process):
    """A process whose keeper stays with its session."""

    def __init__(
        self,
        session: Turns,
        turn: Turn,
        command: Command,
        plan: _prepare.Plan,
        keeper: SharedKeeper,
        streams: _streams.Streams,
        outcome: _run.Outcome | None,
    ) -> None:
        self._session, self._turn = session, turn
        super().__init__(command, plan, keeper, session._keepers, streams, outcome)

    def _abandonment(self) -> Callable[[], object]:
        return partial(self._session._abandon, weakref.ref(self._turn))

    def _reported(self, end: float | None) -> bool:
        assert isinstance(self._keeper, SharedKeeper)
        return self._keeper.reported(None if end is None else max(0.0, end - time.monotonic()))

    def _put_away(self, outcome: _run.Outcome) -> None:
        self._session._conclude(self._keeper, outcome)
        self._turn.over = True
        self._session._tidy()
