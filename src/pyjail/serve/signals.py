"""Signals that come before there is a loop that hears them: `Early`."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def ending() -> list[signal.Signals]:
    """Signals that end the service: those of these that nobody has it ignore, as nohup does."""
    return [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]


class Early:
    """Within `heard` a signal is remembered, and `check` ends what runs by SystemExit; a second one does at once. An
    exception that comes at any moment may come where Python drops it, as in the callback of a weak reference."""

    number = 0

    def check(self) -> None:
        """SystemExit where there was a signal."""
        if self.number:
            raise SystemExit(128 + self.number)

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """The handlers are there while the block lasts; only in the main thread."""
        before = {}
        with contextlib.suppress(ValueError):
            before = {number: signal.signal(number, self._heard) for number in ending()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.check()
        self.number = number
