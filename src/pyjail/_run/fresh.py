"""`Jail(fresh=True)`: who asks for such runs one after the other finds the next keeper made, and the last one ended,
while he did something else. No keeper ever serves two of them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from pyjail._base import lazy
from pyjail._base.errors import JailError
from pyjail._keeper import store
from pyjail._keeper.keeper import Keeper
from pyjail._keeper.store import Idle

OFTEN, SOON_S = 4, 1.0  # so many runs, each so soon after the one before

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Spares:
    """One at a time, in a thread of its own that the first of them starts."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """After os.fork, in the child: the thread is the parent's."""
        self.threads: Any = None  # `Threads`, when they are needed
        self.making: Any = None  # the Future of the last one
        self.template: object = None
        self.count, self.at = 0, 0.0

    def _often(self, template: object) -> bool:
        now = time.monotonic()
        again = template is self.template and now - self.at < SOON_S
        self.template, self.at, self.count = template, now, self.count + 1 if again else 1
        return self.count >= OFTEN

    def replace(self, keeper: Keeper, keepers: Idle, make: Callable[[], None]) -> None:
        """End this keeper; ``make``, perhaps, the next one, armed and in its store."""
        if self._often(keeper.template) and (self.making is None or self.making.done()):
            with contextlib.suppress(JailError, OSError):  # no thread to be had
                if self.threads is None:
                    with lazy.lock:
                        from pyjail._base.threads import Threads

                        self.threads = Threads(1, "pyjail-fresh")
                self.making = self.threads.submit(_replace, keeper, keepers, make)
                return
        keepers.drop(keeper)

    def rest(self) -> None:
        """Wait for what is being made."""
        if self.making is not None:
            self.making.exception()


def _replace(keeper: Keeper, keepers: Idle, make: Callable[[], None]) -> None:
    keepers.drop(keeper)
    with contextlib.suppress(JailError, OSError):  # who asks for it will be told
        make()


spares = Spares()
store.resting.append(spares.rest)
os.register_at_fork(after_in_child=spares.forget)
