"""How often one may ask: `Rates`, an exact sliding window."""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from limits import RateLimitItem, parse

from pyjail.serve.problem import Problem

_MOST = 1 << 16  # clients that are known at once; beyond them who was silent for longest is forgotten


@dataclass(frozen=True)
class Standing:
    """``left`` of ``quota`` requests in ``window`` seconds; ``reset``: seconds until one more is."""

    quota: int
    window: int
    left: int
    reset: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """RateLimit and RateLimit-Policy, as the IETF's draft has them."""
        return [
            (b"ratelimit-policy", b'"default";q=%d;w=%d' % (self.quota, self.window)),
            (b"ratelimit", b'"default";r=%d;t=%d' % (self.left, self.reset)),
        ]


class Rates:
    """When each client asked lately, under hashes that mean nothing elsewhere; what is old enough is forgotten.

    `limits` reads what rates say. Its store in memory looks at every client, each in a thread, whenever one asks
    (ADR 0032).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._salt = secrets.token_bytes(16)
        self._items: dict[str, RateLimitItem] = {}
        self._asked: OrderedDict[bytes, tuple[int, deque[float]]] = OrderedDict()  # by whose last request is oldest

    def __len__(self) -> int:
        return len(self._asked)

    def know(self, rate: str) -> RateLimitItem:
        """What it says. Raises ValueError where it is none."""
        item = parse(rate)
        if item.amount < 1:
            raise ValueError(f"couldn't parse rate: {rate!r} lets nobody in")
        self._items[rate] = item
        return item

    def hit(self, rate: str, who: str) -> Standing:
        """Where that leaves them. Raises `Problem` 429."""
        item = self._items.get(rate) or self.know(rate)
        window, now = item.get_expiry(), self._clock()
        self._forget(now)
        key = hashlib.blake2b(
            f"{rate}\0{who}".encode("utf-8", "surrogatepass"), key=self._salt, digest_size=16
        ).digest()
        _, times = self._asked.setdefault(key, (window, deque()))
        while times and times[0] <= now - window:
            times.popleft()
        if len(times) >= item.amount:
            standing = Standing(item.amount, window, 0, max(1, math.ceil(times[0] + window - now)))
            more = {name.decode(): value.decode() for name, value in standing.headers()}
            raise Problem(429, "rate", f"at most {item}", retry=standing.reset, headers=more)
        times.append(now)
        self._asked.move_to_end(key)
        return Standing(item.amount, window, item.amount - len(times), max(1, math.ceil(times[0] + window - now)))

    def _forget(self, now: float) -> None:
        while self._asked:
            key, (window, times) = next(iter(self._asked.items()))
            if len(self._asked) <= _MOST and times and times[-1] > now - window:
                return
            del self._asked[key]
