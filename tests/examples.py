"""What hypothesis tries, and how often: property tests import its names from here.

It is not imported by what has no such test: where every instruction is emulated that takes half a minute.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

__all__ = ["HealthCheck", "assume", "examples", "given", "settings", "st"]

# A busy machine takes seconds for what takes milliseconds. PYJAIL_TEST_EXAMPLES: `./dev test --quick` tries fewer.
settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=int(os.environ.get("PYJAIL_TEST_EXAMPLES", "100")),
)
settings.load_profile("patient")


def examples(number: int) -> settings:
    """So many; a fifth of them in ``./dev test --quick``, as of those tests that say nothing."""
    return settings(max_examples=max(1, number * settings.default.max_examples // 100))
