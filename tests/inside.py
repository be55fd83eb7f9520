"""What tests touch of a run's inside: the only place that knows where the warm keepers are kept.

A test that can says it with `pyjail.testing`; this is for those that need a keeper's own fds or pid, or that lose one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from pyjail._keeper import store
from pyjail._keeper.keeper import Keeper
from pyjail._run import run


def _kept(pool: Any) -> store.Idle:
    return run.idle if pool is None else pool._warm.keepers


def idle_keepers(pool: Any = None) -> list[Keeper]:
    """The warm ones of `pyjail.run`, or of a pool, that nobody uses now; the one used last is the last one."""
    return list(_kept(pool).keepers)


def busy_keepers(pool: Any = None) -> list[Keeper]:
    """Those at work, or being ended."""
    return list(_kept(pool).leased)


@contextlib.contextmanager
def no_keepers() -> Iterator[None]:
    """Within, whoever starts one fails."""

    def start(*_: Any, **__: Any) -> None:
        raise AssertionError("a pure test has run a program: it belongs in tests/jail")

    with mock.patch.object(store.Idle, "start", start):
        yield
