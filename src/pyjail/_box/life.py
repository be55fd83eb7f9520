"""The life of a box: its one keeper, the slots for its programs, who waits for one, and its end, whatever brings it."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from pyjail._base import lazy, upkeep
from pyjail._base.errors import HostError, JailError, KeeperError, SpecError
from pyjail._base.gate import Gate
from pyjail._box.keeper import BoxKeeper, Slot
from pyjail._cgroups import whole
from pyjail._host.machine import Host, Missing
from pyjail._keeper import store
from pyjail._keeper.keeper import Keeper, Lease, to_end
from pyjail._keeper.talk import Gone
from pyjail._plan import missing, prepare
from pyjail._plan.compile import RunLimits, Template
from pyjail._plan.wire import Failure
from pyjail._result.result import Result
from pyjail._run.attempts import IdleDeath, until_started
from pyjail._session.history import History
from pyjail._spec import commands
from pyjail._spec.jail import Jail, Limits
from pyjail._verdict import outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._box.way_out import WayOut
    from pyjail._result.contact import Contacts
    from pyjail._spec.egress import Egress

T = TypeVar("T")
MOST_IDLE = 16  # slots that are kept armed for the next programs
MOST_KEPT = 1024  # leaves, before those that are gone are forgotten
MOST_RESTING, REST_S = 4, 2.0  # of these, so many when nobody has come for so long
_BUSY = "a program runs, perhaps one that was kept in the background: Box.kill() ends them all"
_ENDED = "this box belongs to the process that was forked from"


class Slots(store.Idle):
    """The slots of one box that no program is in now."""

    def __init__(self, life: Life, most: int) -> None:
        super().__init__(most)
        self.life = life

    def ready(self, template: Template, run: RunLimits, lease: Lease) -> Keeper | None:
        self.life.check()
        if self.life.still:
            raise SpecError(
                "args", "...", "no program may start while a snapshot is put back, or its root committed: wait for that"
            )
        return super().ready(template, run, lease)

    def start(
        self,
        template: Template,
        host: Host,
        attach: Callable[[int], None] | None = None,
        kind: Callable[..., Keeper] = Slot,
        meanwhile: Callable[[], object] | None = None,
        lease: Lease | None = None,
    ) -> Keeper:
        """One more."""
        keeper = self.life.ready()
        if template != keeper.template:
            cause = "a set of CPUs, or none, for all programs of a box: give the first of its kind to Box(limits=)"
            raise SpecError("limits", "...", cause)
        try:
            return super().start(template, host, None, functools.partial(kind, keeper), meanwhile, lease)
        except Gone:
            raise self.life.lost() from None

    def give(self, keeper: Keeper) -> None:
        super().give(keeper)
        if len(self.keepers) > MOST_RESTING:
            with contextlib.suppress(OSError):  # no thread to be had: they stay
                self.life.look_after()

    def drop(self, keeper: Keeper) -> None:
        """Its program ends with it; what was kept of one that has ended stays."""
        if isinstance(keeper, Slot):
            self.life.left(keeper)
        super().drop(keeper)


class Life:
    """Of one `Box`. Thread-safe."""

    def __init__(self, jail: Jail, limits: Limits, concurrency: int, idle_timeout: float | None) -> None:
        self.jail, self.limits, self.idle_timeout = jail, limits, idle_timeout
        self.history = History()
        self.gate = Gate(concurrency)
        self.slots = Slots(self, min(concurrency, MOST_IDLE))
        self.keepers = store.Idle(0)
        self.keeper: BoxKeeper | None = None
        self.gone: BoxKeeper | None = None  # whose fds somebody may still use
        self.starting = threading.RLock()  # the collector may end a box while this very thread holds it
        self.closed: str | None = None
        self.still = False  # its files are being put back, or its root committed: no program may start
        self.kept: set[int] = set()  # leaves in which somebody may live on
        self.tended = False
        self.used_at = time.monotonic()
        self.missing: tuple[Missing, ...] = ()  # limits that nothing enforces here, of a jail that is not strict
        self.way_out = None if isinstance(jail.network, str) else _way_out(jail.network)
        self.owner = os.getpid()
        _all.add(self)

    # ---- the keeper ----

    def check(self) -> None:
        """KeeperError: it is closed, or lost, or another process's."""
        if self.owner != os.getpid():
            raise KeeperError(_ENDED)
        if self.closed is not None:
            raise KeeperError(self.closed)
        if self.keeper is not None and self.keeper.ended:
            raise self.lost()
        self.used_at = time.monotonic()

    def ready(self) -> BoxKeeper:
        """The keeper, which is started now if there is none."""
        self.check()
        with self.starting:
            self.check()
            if self.keeper is None:
                until_started(self._start)
            assert self.keeper is not None
            return self.keeper

    def _start(self) -> None:
        self.keepers.close()  # one whose start was interrupted
        plan = _plan(self.jail, self.limits)
        outcome.load_results()
        self.missing = plan.run.missing
        rows = whole.limits(plan.run.cgroup, self.slots.most)
        if self.idle_timeout is not None:
            self.look_after()
        started = self.keepers.start(plan.template, plan.host, None, functools.partial(BoxKeeper, rows))
        assert isinstance(started, BoxKeeper)
        try:
            failure = None if self.way_out is None else self.way_out.serve(started)
        except Gone:
            raise IdleDeath(new=True) from None
        if failure is not None:
            self.keepers.close()
            raise _explained(failure, plan) if isinstance(failure, Failure) else failure
        self.keeper = started

    @property
    def unserved(self) -> bool:
        """Whether there is to be a proxy and there is none: it has ended since."""
        return self.way_out is not None and not self.way_out.open

    def serve(self) -> Failure | JailError | OSError | None:
        """Have another proxy, where it has ended; why there is none. `Gone` when the keeper is."""
        with self.starting:
            keeper = self.keeper
            if keeper is None or self.way_out is None or not self.unserved:
                return None
            return self.way_out.serve(keeper)

    def contacts(self) -> Contacts | None:
        """What came of the connections of all programs, whether it is closed or not; None where there is no proxy."""
        if self.owner != os.getpid():
            raise KeeperError(_ENDED)
        return None if self.way_out is None else self.way_out.look()

    def lost(self) -> KeeperError:
        """The keeper is dead: so is the box."""
        keeper = self.keeper
        if self.closed is None and keeper is not None:
            died = f"the box's keeper died ({keeper.how_it_died()}), and all that was in it: make a new one"
            self.end("this box is closed: pyjail.close() has ended it" if keeper.ended else died)
        return KeeperError(self.closed or "the box was closed")

    def asked(self, call: Callable[[BoxKeeper], T]) -> T:
        """What a call that asks the keeper for something returns."""
        keeper = self.ready()
        try:
            return call(keeper)
        except KeeperError:
            raise (self.lost() if keeper.ended or keeper.hung_up else KeeperError(keeper.lost)) from None
        finally:
            self.used_at = time.monotonic()
            self.tidy()

    @contextlib.contextmanager
    def stillness(self, living: Callable[[], Sequence[object]], what: str = "snapshot") -> Iterator[None]:
        """A block in which no program runs, nor is started. SpecError of ``what``: one does."""
        with self.slots.lock:
            busy = self.still or bool(self.slots.leased)
            self.still = self.still or not busy
        if busy:
            raise SpecError(what, "...", _BUSY)
        try:
            if living():
                raise SpecError(what, "...", _BUSY)
            yield
        finally:
            self.still = False

    # ---- its end ----

    def end(self, why: str) -> None:
        """End all that runs, and the box. May be called twice, from any thread."""
        if self.owner != os.getpid():
            return
        self.closed = self.closed or why
        self.gate.close(why, refuse=True)
        keeper = self.keeper
        if keeper is not None:
            keeper.hang_up()  # all at once, and first
        self._close()
        with self.starting:
            self._close()  # what was just starting
            self.gone, self.keeper = self.keeper or self.gone, None
        self.tidy()

    def forgotten(self) -> None:
        """Nobody has the box any more. An interrupt of this is nobody's: what it has stopped is done all the same."""
        to_end[self] = end = functools.partial(self.end, "this box is gone")
        try:
            end()
        except BaseException:
            end()
            raise
        finally:
            to_end.pop(self, None)

    def _close(self) -> None:
        self.slots.close()
        self.keepers.close()

    def tidy(self) -> None:
        """Close the fds of a keeper that is gone: another thread that uses them must not meet a stranger's."""
        keeper = self.gone
        if keeper is not None and not keeper.used:
            self.gone = None
            keeper.close()

    # ---- time ----

    def look_after(self) -> None:
        """Have `tend` called from now on."""
        if not self.tended:
            upkeep.add(self)
            self.tended = True

    def tend(self) -> None:
        """End slots that nobody needs, and the box when it was not used for so long."""
        keeper = self.keeper
        if self.closed is not None or keeper is None or self.owner != os.getpid():
            return
        self.slots.end_unused(time.monotonic() - REST_S, MOST_RESTING)
        if self.idle_timeout is None:
            return
        if self.slots.leased or keeper.used:
            self.used_at = time.monotonic()
        elif time.monotonic() - self.used_at >= self.idle_timeout:
            self.end(f"this box is closed: it was not used for {self.idle_timeout:g} s, its idle_timeout")

    def left(self, slot: Slot) -> None:
        """Note the leaf in which a program that has ended has left somebody, if it has."""
        if number := slot.leaf:
            self.kept.add(number)
            if len(self.kept) > MOST_KEPT and self.keeper is not None:
                top = self.keeper.cgroup.boxes[0]
                self.kept = {n for n in list(self.kept) if os.path.exists(f"{top}/r{n}")}

    def add(self, result: Any) -> None:
        """What a program came to."""
        self.used_at = time.monotonic()
        if isinstance(result, Result):
            with self.starting:
                self.history.add(result)


def _way_out(egress: Egress) -> WayOut:
    with lazy.lock:
        from pyjail._box.way_out import WayOut

    return WayOut(egress)


def _explained(failure: Failure, plan: prepare.Plan) -> Exception:
    with lazy.lock:
        from pyjail._plan import explain

    return explain.error(failure, plan.template)


def _plan(jail: Jail, limits: Limits) -> prepare.Plan:
    """HostError where no cgroup tells the programs of a box apart, whether the jail is strict or not."""
    command = commands.make(["true"], limits, jail)
    plan = prepare.prepare(command)
    if "pids" not in plan.template.cgroups.where:
        prepare.look_again()
        plan = prepare.prepare(command)
    if "pids" not in plan.template.cgroups.where:
        more = ": it is what ends one program of a box, and no other"
        raise HostError(*missing.lacking(plan.host, "processes", "pids", more))
    return plan


_all: weakref.WeakSet[Life] = weakref.WeakSet()


def _after_fork() -> None:
    """In the child: who waits for a place, or is inside, is the parent's, and a thread may have held the lock."""
    for life in _all:
        life.gate.forget()


os.register_at_fork(after_in_child=_after_fork)
