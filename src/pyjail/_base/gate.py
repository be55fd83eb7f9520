"""A first-come-first-served gate of so many places, for threads and event loops alike."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable

from pyjail._base.rare_errors import PoolClosedError


class Place:
    """One who waits at a `Gate` or is inside. ``wake()``: called once, from any thread, when it is admitted or refused;
    False: nobody is there any more."""

    __slots__ = ("era", "gate", "number", "refused", "wake")

    def __init__(self, gate: Gate, wake: Callable[[], bool]) -> None:
        self.gate = gate
        self.era = gate.era
        self.number: int | None = None  # from 0 on, its own while it is inside
        self.refused = ""  # why it will never be admitted
        self.wake = wake

    def leave(self) -> None:
        """Out of the gate, or out of its queue. May be called twice."""
        self.gate._leave(self)

    def __del__(self) -> None:  # an interrupt may hit the very call of `leave`; a place must not be lost for that
        if self.number is not None:
            self.gate._leave(self)


class Gate:
    """``size`` places. Nobody who comes later is admitted earlier."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.closed = ""  # why nobody else may come
        self.era = 0
        self._reset()

    def _reset(self) -> None:
        self.lock = threading.RLock()  # `Place.__del__` may run while this very thread holds it
        self.free: set[int] = set()
        self.issued = itertools.count()
        self.inside: set[int] = set()
        self.queue: OrderedDict[Place, None] = OrderedDict()
        self.watchers: list[Callable[[], bool]] = []

    def enter_now(self, place: Place) -> bool:
        """True: admitted. False: it would have to wait. PoolClosedError: the gate is closed."""
        with self.lock:
            if self.closed:
                raise PoolClosedError(self.closed)
            if self.queue or len(self.inside) >= self.size:
                return False
            self._admit(place)
            return True

    def enter(self, place: Place) -> bool:
        """True: admitted at once. False: in the queue. PoolClosedError: the gate is closed."""
        with self.lock:
            if self.enter_now(place):
                return True
            self.queue[place] = None
            self._advance()  # should an interrupt have kept the last one who left from it
            return place.number is not None

    def _admit(self, place: Place) -> None:
        """Its number is stored first: interrupted at any step, `_release` undoes what has been done."""
        place.number = next(iter(self.free)) if self.free else next(self.issued)
        self.inside.add(place.number)
        self.free.discard(place.number)

    def _leave(self, place: Place) -> None:
        with self.lock:
            if place.era == self.era:
                if self.queue:
                    self.queue.pop(place, None)
                self._release(place)
                if self.queue or self.watchers:
                    self._advance()

    def _release(self, place: Place) -> None:
        if place.number is not None:
            self.inside.discard(place.number)
            self.free.add(place.number)
            place.number = None

    def _advance(self) -> None:
        while self.queue and len(self.inside) < self.size:
            place = next(iter(self.queue))
            self._admit(place)
            del self.queue[place]
            if not place.wake():  # its event loop is gone
                self._release(place)
        if not self.queue and not self.inside:
            watchers, self.watchers = self.watchers, []
            for wake in watchers:
                wake()

    def resize(self, size: int) -> None:
        """More are admitted at once; with fewer places, those inside stay until they leave."""
        with self.lock:
            self.size = size
            self._advance()

    def close(self, why: str, *, refuse: bool = False) -> None:
        """Nobody else may come; those in the queue are admitted in their turn, or, ``refuse``, sent away."""
        with self.lock:
            self.closed = self.closed or why
            while refuse and self.queue:
                place, _ = self.queue.popitem(last=False)
                place.refused = why
                place.wake()
            self._advance()

    def when_empty(self, wake: Callable[[], bool]) -> None:
        """``wake()`` is called when nobody is inside or waits."""
        with self.lock:
            self.watchers.append(wake)
            self._advance()

    def forget(self) -> None:
        """After os.fork, in the child: who was here is the parent's."""
        self.era += 1
        self._reset()


def nobody() -> bool:
    """``wake`` of one who does not wait."""
    return False


def wait_in_turn(place: Place, patience: Callable[[], float | None]) -> None:
    """Have this thread wait for its place, for ``patience()`` s at most. It may be outside still, or be refused."""
    place.wake, wait = thread_waker()
    if not place.gate.enter(place):
        wait(patience())


def thread_waker() -> tuple[Callable[[], bool], Callable[[float | None], bool]]:
    """(a ``wake`` for one thread, how that thread waits for it: True when it was woken within so many seconds)."""
    lock = threading.Lock()
    lock.acquire()

    def wake() -> bool:
        lock.release()
        return True

    def wait(seconds: float | None) -> bool:
        return lock.acquire(timeout=-1 if seconds is None else min(max(0.0, seconds), threading.TIMEOUT_MAX))

    return wake, wait
