"""What is known of the request that this task answers, for who counts and logs: `Watch`."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass
class Watch:
    """Attributes: ``id`` of the request, ``tenant``, ``ran`` and ``queued``: seconds of all programs of it, ``turn``:
    whether it has waited for a slot, and so has an answer once nobody does; ``coming``: whether it is counted as one
    that will wait for one. ``after``: what is to be done when its answer is on its way; None: at
    once, for no answer waits."""

    id: str = ""
    tenant: str = ""
    ran: float = 0.0
    queued: float = 0.0
    turn: bool = False
    coming: bool = False
    after: list[Callable[[], object]] | None = None


NOBODY = Watch()
_WATCH = "pyjail.watch"  # of a scope


def of(scope: MutableMapping[str, Any]) -> Watch:
    """That of the request whose scope this is."""
    found: Watch | None = scope.get(_WATCH)
    if found is None:
        found = scope[_WATCH] = Watch(after=[] if scope["type"] == "http" else None)
    return found


current: ContextVar[Watch] = ContextVar("current", default=NOBODY)
