"""What the programs of these boxes may use, and how those in Python are started."""

from __future__ import annotations

import sys

from pyjail import Limits
from tests.conftest import SLOW

PYTHON = [sys.executable, "-I", "-c"]
LIMITS = Limits(cpu_time=20 * SLOW, wall_time=60 * SLOW, memory="256M", processes=64)


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]
