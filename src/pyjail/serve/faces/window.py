"""So many in so many seconds, of each client: `Window`, an exact sliding log."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

_MOST = 65536  # clients that are remembered


class Window:
    """At most ``most`` of each client within ``seconds``. What has passed is forgotten."""

    def __init__(self, most: int, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._now = most, seconds, now
        self._of: OrderedDict[str, deque[float]] = OrderedDict()  # whoever came last is last

    def enter(self, client: str) -> float:
        """0 when this one is within it, and counted; else the seconds until one would be."""
        now = self._now()
        while self._of and (len(self._of) > _MOST or next(iter(self._of.values()))[-1] <= now - self._seconds):
            self._of.popitem(last=False)
        log = self._of.get(client) or deque()
        while log and log[0] <= now - self._seconds:
            log.popleft()
        if len(log) >= self._most:
            return log[0] + self._seconds - now
        log.append(now)
        self._of[client] = log
        self._of.move_to_end(client)
        return 0.0

    def __len__(self) -> int:
        return len(self._of)
