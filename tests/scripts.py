"""Helpers that run Python code in a process of its own, and wait."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

from tests import place
from tests.conftest import SLOW

PRELUDE: str  # what such code begins with, to be in the same place as this process


def __getattr__(word: str) -> str:
    if word != "PRELUDE":
        raise AttributeError(word)
    return "" if place.CGROUPS else "from tests import place\nplace.adapt()\n"


def script(
    code: str, *, timeout: float = 60, wrap: tuple[str, ...] = (), arguments: tuple[str, ...] = (), **kw
) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, started by the command ``wrap``."""
    return subprocess.run(
        [*wrap, sys.executable, "-c", __getattr__("PRELUDE") + textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout * SLOW,
        check=False,
        **kw,
    )


def until(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds * SLOW
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()
