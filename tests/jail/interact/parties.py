"""Parties, and limits that bound them."""

from __future__ import annotations

import sys

from pyjail import Interaction, Limits, Party, interact
from tests.conftest import SLOW

LIMITS = Limits(cpu_time=10 * SLOW, wall_time=40 * SLOW)
ALL = 60 * SLOW
PAIR = ("a.stdout -> b.stdin", "b.stdout -> a.stdin")
PY = [sys.executable, "-I", "-c"]


def sh(code: str, limits: Limits = LIMITS, **kw) -> Party:
    return Party(["sh", "-c", code], limits, **kw)


def play(*parties, **kw) -> Interaction:
    return interact(*parties, **{"wall_time": ALL, **kw})
