"""A program that counts the CPUs finds as many as it may use: a set of them instead of a share of the time of all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pyjail._base.errors import HostError
from pyjail._plan import prepare
from pyjail._spec import commands
from pyjail._spec.jail import Jail, Limits

_lock = threading.Lock()
_taken: dict[int, int] = {}


@contextmanager
def given_cpus(limits: Limits, jail: Jail) -> Iterator[Limits]:
    """The limits with a set of CPUs for a whole number of them: those that the fewest runs of ours have now."""
    share, there = limits.cpus, prepare.cpus()
    if not isinstance(share, float) or not share.is_integer() or share >= len(there) or not _sets(jail, there):
        yield limits
        return
    with _lock:
        chosen = sorted(there, key=lambda cpu: (_taken.get(cpu, 0), (cpu + os.getpid()) % len(there)))[: int(share)]
        for cpu in chosen:
            _taken[cpu] = _taken.get(cpu, 0) + 1
    try:
        yield replace(limits, cpus=frozenset(chosen))
    finally:
        with _lock:
            for cpu in chosen:
                _taken[cpu] -= 1


def _sets(jail: Jail, there: frozenset[int]) -> bool:
    """Whether sets of CPUs can be enforced here."""
    limits = Limits(cpus={min(there)})
    command = commands.make(["true"], limits, jail)
    try:
        missing = prepare.prepare(command).run.missing
    except HostError:
        return False
    return all(row.control != "cpus" for row in missing)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _taken.clear()


os.register_at_fork(after_in_child=_after_fork)
