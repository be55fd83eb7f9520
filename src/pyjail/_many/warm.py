"""So many jails at once, and their keepers kept warm: what pools for threads and for event loops share."""

from __future__ import annotations

import functools
import os
import time
import warnings
import weakref
from typing import Any

from pyjail._base import units, upkeep
from pyjail._base.errors import HostError, SpecError
from pyjail._base.gate import Gate, Place
from pyjail._base.rare_errors import PoolClosedError
from pyjail._base.records import replace
from pyjail._keeper.store import Idle
from pyjail._many import pinning
from pyjail._plan import prepare
from pyjail._result.subprocess_errors import PoolExhaustedError
from pyjail._run.turn import Turn, warm_up
from pyjail._spec import commands
from pyjail._spec.commands import Command
from pyjail._spec.jail import Jail, Limits
from pyjail._verdict import outcome

MOST = 4096  # keepers of one pool: each has about ten fds and two processes


class Source:
    """Where runs get their keepers from, and the queue in front of it."""

    def __init__(self, gate: Gate, keepers: Idle, timeout: float | None, hint: str) -> None:
        self.gate = gate
        self.keepers = keepers
        self.timeout = timeout  # seconds that a run waits in the queue
        self.hint = hint

    def patience(self, deadline: float | None) -> float | None:
        """Seconds that a run with this deadline may wait for its place; None: for ever."""
        if deadline is None:
            return self.timeout
        left = max(0.0, deadline - time.monotonic())
        return left if self.timeout is None else min(left, self.timeout)

    def turn(self, command: Command, deadline: float | None) -> Turn:
        """What runs it."""
        return Turn(command, self.keepers, deadline)

    def fitted(self, command: Command, place: Place) -> Command:
        """The command as this place runs it. PoolClosedError, PoolExhaustedError: it was not admitted."""
        if place.refused:
            raise PoolClosedError(place.refused)
        if place.number is None:
            times = [t for t in (self.timeout, command.timeout) if t is not None]
            place.leave()
            raise PoolExhaustedError(command.args, min(times), self.gate.size, len(self.gate.queue), self.hint)
        return command


class Warm(Source):
    """The keepers of one pool, all of one jail."""

    def __init__(
        self, size: Any, jail: Any, limits: Any, warm: Any, idle_timeout: Any, keep: Any, pin: Any, timeout: Any
    ) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MOST:
            raise SpecError("size", size, f"how many jails may run at once: a number from 1 to {MOST} is needed")
        if not isinstance(pin, bool):
            raise SpecError("pin", pin, "True or False is needed")
        self.limits = Limits() if limits is None else limits
        self.first = commands.make(["true"], self.limits, jail)
        self.jail: Jail = self.first.jail
        self.warm = _part("warm", size if warm is None else warm, size)
        self.keep = _part("keep", keep, size)
        self.idle_timeout = units.seconds("idle_timeout", idle_timeout)
        hint = "Raise Pool(size=...) or the timeout, or lower Limits(wall_time=...) of the runs."
        super().__init__(Gate(size), Idle(2 * size), units.seconds("timeout", timeout), hint)
        self.pinned = pin
        self.check(self.first)
        self.cpus = pinning.take(size) if pin else ()
        self.tended = False
        _all[id(self)] = self

    def begin(self) -> None:
        """Start what is to be warm. Raises what `run` would, before there is a program; then nothing is left."""
        try:
            if not set(self.cpus) <= prepare.cpus():
                prepare.look_again()  # this process has been given others since
            self.start(self.warm)
            self.look_after()
        except BaseException:
            self.end("the pool could not be made ready")
            raise

    def look_after(self) -> None:
        """Have `tend` called from now on; in a forked child, too, when it uses its copy of the pool."""
        if not self.tended:
            upkeep.add(self)
            self.tended = True

    def start(self, count: int) -> None:
        """Start so many keepers. A jail with ``fresh`` has none to keep."""
        for number in range(0 if self.jail.fresh else count):
            try:
                self._start(self._on(self.first, number))
            except HostError as e:
                if self.pinned and e.control == "cpus":
                    raise HostError("pin", e.cause, f"{e.hint.partition('; or do without')[0]}; or pin=False") from e
                raise

    def _start(self, command: Command) -> None:
        outcome.load_results()
        warm_up(command, self.keepers)

    def check(self, command: Command) -> None:
        """SpecError: this pool cannot run it."""
        if self.pinned and command.limits.cpus not in (None, 1.0):
            why = "a pool with pin=True gives each run a core of its own: leave cpus alone, or pin=False"
            raise SpecError("cpus", command.limits.cpus, why)

    def fitted(self, command: Command, place: Place) -> Command:
        command = super().fitted(command, place)
        assert place.number is not None
        return self._on(command, place.number)

    def _on(self, command: Command, number: int) -> Command:
        return command._replace(limits=_on_cpu(command.limits, self.cpus[number])) if self.cpus else command

    def tend(self) -> None:
        """Replace idle keepers that died; end those that nobody has used for long."""
        dead = self.keepers.end_dead()
        if self.idle_timeout is not None:
            self.keepers.end_unused(time.monotonic() - self.idle_timeout, self.keep)
        if not self.gate.closed:
            self.start(min(dead, self.gate.size - len(self.keepers.keepers) - len(self.keepers.leased)))

    def end(self, why: str) -> None:
        """End all keepers, those in a run too, and let go of the cores."""
        self.gate.close(why, refuse=True)
        self.keepers.shut(PoolClosedError(why))
        if self.pinned:
            self.pinned, cpus = False, self.cpus
            pinning.give(cpus)

    def forget(self) -> None:
        """After os.fork, in the child: an empty pool of the same kind. (`_keeper.store` forgets its keepers.)"""
        self.gate.forget()
        self.tended = False


class Warmed:
    """What every pool tells of itself, and its end when it is forgotten."""

    _warm: Warm

    @property
    def size(self) -> int:
        """Jails that may run at once."""
        return self._warm.gate.size

    @property
    def running(self) -> int:
        """Places that are taken now."""
        return len(self._warm.gate.inside)

    @property
    def waiting(self) -> int:
        """Runs in the queue for a place."""
        return len(self._warm.gate.queue)

    @property
    def idle(self) -> int:
        """Warm keepers without work."""
        return len(self._warm.keepers.keepers)

    @property
    def cpus(self) -> tuple[int, ...]:
        """With ``pin``: the CPU of each place. Else empty."""
        return self._warm.cpus

    def __repr__(self) -> str:
        state = f"{self.running} running, {self.waiting} waiting, {self.idle} idle"
        return f"<{type(self).__module__}.Pool of {self.size}: {self._warm.gate.closed or state}>"

    def __del__(self) -> None:
        warm = getattr(self, "_warm", None)
        if warm is not None and warm.keepers.closed is None:
            if warm.keepers.keepers:
                warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            warm.end("this pool is gone")


def _part(field: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise SpecError(field, value, f"a number of keepers from 0 to the pool's size, {most}, is needed")
    return value


@functools.lru_cache(maxsize=4096)
def _on_cpu(limits: Limits, cpu: int) -> Limits:
    return replace(limits, cpus=frozenset({cpu}))


_all: weakref.WeakValueDictionary[int, Warm] = weakref.WeakValueDictionary()


def _forget_all() -> None:
    for ref in _all.valuerefs():
        warm = ref()
        if warm is not None:
            warm.forget()


os.register_at_fork(after_in_child=_forget_all)
