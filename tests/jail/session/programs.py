"""What the programs of these sessions may use, and how those in Python are started."""

from __future__ import annotations

import sys

from pyjail import Limits
from tests.conftest import SLOW

PYTHON = [sys.executable, "-I", "-c"]
LIMITS = Limits(cpu_time=20 * SLOW, wall_time=60 * SLOW)
