"""Keepers without work, by template."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

from pyjail._errors import JailError, KeeperError
from pyjail._host import Host
from pyjail._keeper import HANDSHAKE_S, Keeper
from pyjail._plan import RunLimits, Template

MOST_IDLE = 64


class Idle:
    """Warm keepers that nobody uses now. Thread-safe; the last one given is the first one taken."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.started = threading.Condition(self.lock)
        self.starting = 0
        self.keepers: list[Keeper] = []
        self.leased: set[Keeper] = set()
        self.closed = False

    def take(self, template: Template, run: RunLimits, host: Host) -> Keeper:
        """A keeper of this template, one that is armed for these limits by preference; a new one if need be."""
        with self.lock:
            found = None
            for keeper in reversed(self.keepers):
                if keeper.template is template or keeper.template == template:
                    if keeper.armed is run or keeper.armed == run:
                        found = keeper
                        break
                    found = found or keeper
            if found is not None:
                self.leased.add(found)  # before anybody is interrupted: `close` knows it at any instant
                self.keepers.remove(found)
                return found
        return self.start(template, host)

    def start(self, template: Template, host: Host, attach: Callable[[int], None] | None = None) -> Keeper:
        """A new keeper, leased; ``attach`` as `Keeper` has it."""
        counted = False
        try:
            with self.lock:
                if self.closed:
                    raise KeeperError("the interpreter is shutting down: no new jail is started")
                self.starting += 1
                counted = True
            return Keeper(template, host, attach, self._book)
        finally:
            if counted:
                with self.lock:
                    self.starting -= 1
                    self.started.notify_all()

    def _book(self, keeper: Keeper) -> None:
        with self.lock:
            self.leased.add(keeper)

    def give(self, keeper: Keeper) -> None:
        """Back, for the next run."""
        surplus = keeper
        with self.lock:
            if keeper in self.leased and keeper.owner == os.getpid():  # else `close` has ended it
                self.keepers.append(keeper)
                self.leased.discard(keeper)
                if len(self.keepers) <= MOST_IDLE:
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
                if keeper in in_a_run:
                    keeper.end()
                else:
                    keeper.close()
            with self.lock:
                self.leased.discard(keeper)

    def shut(self) -> None:
        """At exit: no new keepers, and the end of those that other threads are just starting."""
        with self.lock:
            self.closed = True
            self.started.wait_for(lambda: not self.starting, HANDSHAKE_S)
        self.close()

    def forget(self) -> None:
        """After os.fork, in the child: the keepers are the parent's."""
        self.lock = threading.Lock()
        self.started, self.starting = threading.Condition(self.lock), 0
        for keeper in [*self.keepers, *self.leased]:
            keeper.forget()
        self.keepers, self.leased = [], set()
