"""Whose turn it is in a session, and its keeper: what holds whoever is interrupted, dropped or forked at any step."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from pyjail._base.errors import KeeperError, SpecError
from pyjail._keeper import store
from pyjail._keeper.shared import SharedKeeper
from pyjail._plan import prepare
from pyjail._result.result import Result
from pyjail._result.undecoded import OutputDecodeError
from pyjail._run.attempts import until_started
from pyjail._run.turn import Turn
from pyjail._session.history import History
from pyjail._spec import commands
from pyjail._spec.commands import Command
from pyjail._spec.jail import Jail, Limits
from pyjail._verdict import outcome

T = TypeVar("T")
_INTERRUPTED = "a program was interrupted or forgotten, and its session lost with it"


class Claim:
    """To a session, for one caller at a time, until it is over or nobody has it any more."""

    __slots__ = ("__weakref__", "over")

    def __init__(self) -> None:
        self.over = False


class Claimed:
    """The keeper of a `Session`, for one caller at a time."""

    def __init__(self, jail: Jail, limits: Limits) -> None:
        self.jail, self.limits = jail, limits
        self._history = History()
        self._keepers = store.Idle(0)
        self._keeper: SharedKeeper | None = None
        self._gone: SharedKeeper | None = None  # whose fds somebody may still use
        self._starting = threading.RLock()  # the collector may end a process of ours while this very thread holds it
        self._claiming = threading.RLock()
        self._claim: weakref.ref[Claim] | None = None  # the last one
        self._unfinished: str | None = None  # why a program may run whose end nobody has seen
        self._closed: str | None = None
        self._hung_up = False
        self._owner = os.getpid()
        weakref.finalize(self, self._keepers.drop_all).atexit = False  # at exit all keepers end anyway

    @property
    def results(self) -> list[Result]:
        """The last results, in order."""
        return self._history.results

    def _enter(self, claim: Claim, args: Any) -> None:
        """Whoever calls this makes his claim ``over``, whatever comes out: one store, that nothing can come between."""
        self._check()
        with self._claiming:
            if not self._is_running():
                self._claim = weakref.ref(claim)
        if self._claim is None or self._claim() is not claim:
            raise SpecError("args", args, "a program of this session runs already: wait for it, or use another session")

    def _alone(self, what: str, call: Callable[[SharedKeeper], T]) -> T:
        claim = Claim()
        try:
            self._enter(claim, what)
            return call(self._ready())
        finally:
            claim.over = True

    def _is_running(self) -> bool:
        claim = None if self._claim is None else self._claim()
        return claim is not None and not claim.over

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
                until_started(self._start)
            assert self._keeper is not None
            return self._keeper

    def _start(self) -> None:
        self._keepers.close()  # one whose start was interrupted
        plan = prepare.prepare(commands.make(["true"], self.limits, self.jail))
        outcome.load_results()
        started = self._keepers.start(plan.template, plan.host, None, SharedKeeper)
        assert isinstance(started, SharedKeeper)
        self._keeper = started

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

    def _forgotten(self, claim: weakref.ref[Claim]) -> None:
        """Nobody will wait for its program. (Interrupted, this is told by the claim itself, which goes.)"""
        found = claim()
        if found is not None and not found.over:
            found.over = True
            self._end_unfinished()


class SessionTurn(Turn):
    """A program's turn of the keeper of a session, which stays with that."""

    __slots__ = ("claim", "session", "writes")

    keeper: SharedKeeper

    def __init__(self, session: Claimed, claim: Claim, command: Command) -> None:
        super().__init__(command, session._keepers)
        self.session, self.claim = session, claim
        self.writes: Sequence[Callable[[], object]] = ()  # of files, before it starts

    def open(self) -> None:
        for write in self.writes:
            write()
        self.keeper = self.session._ready()
        self.prepare()
        if self.plan.template != self.keeper.template:
            cause = "a set of CPUs, or none, for all runs of a session: give the first of its kind to Session(limits=)"
            raise SpecError("limits", self.command.limits, cause)

    def begin(self) -> None:
        session, before = self.session, self.keeper.turn
        session._unfinished = _INTERRUPTED
        try:
            super().begin()
        except BaseException:
            if self.keeper.turn == before:  # nothing was sent
                session._unfinished = None
            raise

    def _idle_death(self) -> Exception:
        return self.session._lost()

    def put_away(self) -> None:
        """The session goes on, or is lost."""
        assert self.outcome is not None
        session, (result, reusable) = self.session, self.outcome
        self.keeper.let_go()
        told = result.result if isinstance(result, OutputDecodeError) else result
        if isinstance(told, Result) and session._unfinished is not None:
            session._history.add(told)
        session._unfinished = None
        if not reusable:
            session._lost()
        self.claim.over = True
        session._tidy()

    def abandon(self) -> None:
        self.session._forgotten(weakref.ref(self.claim))

    def finaliser(self) -> Callable[[], object]:
        return partial(self.session._forgotten, weakref.ref(self.claim))
