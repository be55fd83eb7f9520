"""Keepers without work, by template."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable

from pyjail._base.errors import JailError, KeeperError
from pyjail._host.machine import Host
from pyjail._keeper.keeper import HANDSHAKE_S, Keeper, Lease, to_end
from pyjail._plan.compile import RunLimits, Template

MOST_IDLE = 64
REST_S = 0.002
LOOK_S = 1.0  # between two looks at the directories that jails hide
HURRIED = 32  # times, then one more keeper
TURNS = 3  # runs under limits for which no keeper was armed; at the next one more keeper, for these
CPUS = len(os.sched_getaffinity(0))
MOST_ALIKE = 2 * CPUS  # one for each run that a CPU can be busy with, and one that is armed meanwhile


class Idle:
    """Warm keepers that nobody uses now. Thread-safe; the last one given is the first one taken.

    ``most``: how many of them are kept.
    """

    def __init__(self, most: int = MOST_IDLE) -> None:
        self.most = most
        self.lock = threading.RLock()  # as that of a keeper
        self.started = threading.Condition(self.lock)
        self.starting = 0
        self.hurried = 0  # requests that met only keepers that are just being armed
        self.unarmed: dict[RunLimits, int] = {}  # how often no keeper was armed for them, the last ones missed
        self.keepers: list[Keeper] = []
        self.leased: set[Keeper] = set()
        self.looked = 0.0  # when it was last asked what the keepers' jails hide
        self.closed: JailError | None = None  # why no keeper is started any more
        _all[id(self)] = self

    def ready(self, template: Template, run: RunLimits, lease: Lease) -> Keeper | None:
        """A keeper of this template, in ``lease``, one that is armed for these limits by preference. Never waits.

        None, when there is to be one more: the last one given has its caches warm, but takes about a millisecond to arm
        its next run, and longer to arm one under other limits. A caller who is back before that gets another one; when
        that happens again and again a new one pays, for these limits.
        """
        if scopes is not None:
            scopes[0]()
        for who, end in list(to_end.items()) if to_end else ():
            with contextlib.suppress(OSError, JailError):
                end()
            to_end.pop(who, None)
        now = time.monotonic()
        if now - self.looked >= LOOK_S:
            self.looked = now
            self._end(lambda: [k for k in self.keepers if k.uncovered()])
        with self.lock:
            found = resting = other = None
            for keeper in reversed(self.keepers):
                if keeper.template is not template and keeper.template != template:
                    continue
                if keeper.armed is run or keeper.armed == run:
                    if now - keeper.idle_since >= REST_S:
                        found, resting = keeper, None
                        break
                    resting = keeper  # the one that was given first has rested longest
                else:
                    other = keeper  # so has this one, and whoever wants its limits has not come for longest
            if found is None:
                found = resting or other
                if found is not None and self._is_to_be_another(template, run, resting is None):
                    return None
            if found is not None:
                self._lend(found, lease)  # before anybody is interrupted: `close` knows it at any instant
                self.keepers.remove(found)
            return found

    def _is_to_be_another(self, template: Template, run: RunLimits, unarmed: bool) -> bool:
        """Whether a rested keeper or (``unarmed``) any for these limits was just missed once more than often enough."""
        if not unarmed:
            self.hurried += 1
            if self.hurried < HURRIED:
                return False
            self.hurried = 0
            alike = [k in self.leased for k in self.known() if k.armed == run and k.template == template]
            return len(alike) < min(sum(alike) + CPUS, MOST_ALIKE) and len(self.known()) < self.most
        if len(self.known()) >= self.most:
            return False
        times = self.unarmed.pop(run, 0) + 1
        if times < TURNS:
            self.unarmed[run] = times  # the last one now
            if len(self.unarmed) > MOST_IDLE:
                del self.unarmed[next(iter(self.unarmed))]
        return times == TURNS

    def known(self) -> list[Keeper]:
        """All that are idle or at work."""
        return [*self.keepers, *self.leased]

    def start(
        self,
        template: Template,
        host: Host,
        attach: Callable[[int], None] | None = None,
        kind: Callable[..., Keeper] = Keeper,
        meanwhile: Callable[[], object] | None = None,
        lease: Lease | None = None,
    ) -> Keeper:
        """A new keeper, in ``lease``; ``attach`` and ``meanwhile`` as `Keeper` has them."""
        if scopes is not None:
            scopes[0]()
        counted = False
        try:
            with self.lock:
                if self.closed is not None:
                    raise type(self.closed)(*self.closed.args)
                self.starting += 1
                counted = True
            return kind(template, host, attach, lambda keeper: self._book(keeper, lease), meanwhile)
        finally:
            if counted:
                with self.lock:
                    self.starting -= 1
                    self.started.notify_all()

    def _book(self, keeper: Keeper, lease: Lease | None) -> None:
        with self.lock:
            self._lend(keeper, [] if lease is None else lease)

    def _lend(self, keeper: Keeper, lease: Lease) -> None:
        keeper.lease = lease
        lease.append(keeper)  # whoever has the lease finds it, before anybody has it
        self.leased.add(keeper)
        if scopes is not None:
            scopes[1](self, keeper)

    def abandon(self, lease: Lease) -> None:
        """`drop` what was leased so and has not been given back, whoever may have it now. May be called twice."""
        for keeper in list(lease):
            with self.lock:
                his = keeper.lease is lease and keeper in self.leased
            if his:
                self.drop(keeper)

    def lent(self, lease: Lease) -> bool:
        """Whether something that was leased so has not been given back."""
        return any(keeper.lease is lease and keeper in self.leased for keeper in lease)

    def hang_up(self, lease: Lease) -> None:
        """`Keeper.hang_up` to what was leased so and has not been given back. From any thread."""
        for keeper in list(lease):
            with self.lock:
                if keeper.lease is lease and keeper in self.leased:
                    keeper.hang_up()

    def drop_all(self) -> None:
        """`drop` all that are leased: for who knows that nobody uses them."""
        for keeper in list(self.leased):
            self.drop(keeper)

    def give(self, keeper: Keeper) -> None:
        """Back, for the next run."""
        surplus = keeper
        keeper.idle_since = time.monotonic()
        with self.lock:
            if keeper in self.leased and self.closed is None:  # else it was ended, or is the parent's
                keeper.lease = None
                self.keepers.append(keeper)
                self.leased.discard(keeper)
                if len(self.keepers) <= self.most:
                    return
                surplus = self.keepers[0]
                self.leased.add(surplus)
                del self.keepers[0]
        self.drop(surplus)

    def drop(self, keeper: Keeper) -> None:
        """Not to be used again."""
        keeper.close()  # when that is interrupted, `close` still knows the keeper
        with self.lock:
            self.leased.discard(keeper)
            with contextlib.suppress(ValueError):  # its lease was interrupted
                self.keepers.remove(keeper)

    def end_dead(self) -> int:
        """Put away the idle keepers that have died; how many there were."""
        return self._end(lambda: [k for k in self.keepers if not k.alive])

    def end_unused(self, since: float, keep: int) -> int:
        """End the idle keepers that nobody has used since then, but for the ``keep`` used last; how many there were."""
        return self._end(lambda: [k for k in self.keepers[: max(0, len(self.keepers) - keep)] if k.idle_since <= since])

    def _end(self, choose: Callable[[], list[Keeper]]) -> int:
        with self.lock:
            gone = choose()
            self.keepers = [k for k in self.keepers if k not in gone]
            self.leased.update(gone)  # `close` knows them until they are gone
        for keeper in gone:
            self.drop(keeper)
        return len(gone)

    def close(self) -> None:
        """End all keepers of this process; those in a run, too."""
        with self.lock:
            in_a_run = set(self.leased)
            self.leased.update(self.keepers)
            self.keepers.clear()
            gone = list(self.leased)
        for keeper in gone:
            with contextlib.suppress(OSError, JailError):
                keeper.hang_up()  # all at once first: each takes a moment to take its jail down
        for keeper in gone:
            with contextlib.suppress(OSError, JailError):
                (keeper.end if keeper in in_a_run else keeper.close)()
            with self.lock:
                self.leased.discard(keeper)

    def shut(self, why: JailError) -> None:
        """For good: no new keepers, and the end of those that other threads are just starting."""
        with self.lock:
            self.closed = why
            self.started.wait_for(lambda: not self.starting, HANDSHAKE_S)
        self.close()

    def forget(self) -> None:
        """After os.fork, in the child: the keepers are the parent's."""
        self.lock = threading.RLock()
        self.started, self.starting = threading.Condition(self.lock), 0
        self.keepers, self.leased = [], set()


# Of `aio`, when that is in use: whether the caller may have a keeper, and that it has one.
scopes: tuple[Callable[[], None], Callable[[Idle, Keeper], None]] | None = None
_all: weakref.WeakValueDictionary[int, Idle] = weakref.WeakValueDictionary()


def _everyone() -> list[Idle]:
    return [found for ref in _all.valuerefs() if (found := ref()) is not None]


# To be called before all are closed: what waits until nobody makes a keeper of his own accord.
resting: list[Callable[[], None]] = []


def close_all() -> None:
    """`Idle.close` for the keepers of `run` and for those of all pools."""
    for rest in resting:
        rest()
    for one in _everyone():
        one.close()


def shut_all() -> None:
    """End the keepers of all stores, which start no more: the interpreter exits."""
    for one in _everyone():
        one.shut(KeeperError("the interpreter is shutting down: no new jail is started"))


def forget_all() -> None:
    """After os.fork, in the child."""
    for one in _everyone():
        one.forget()
