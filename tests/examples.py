"""How many examples hypothesis tries."""

from __future__ import annotations

from hypothesis import settings


def examples(number: int) -> settings:
    """So many; a fifth of them in ``./dev test --quick``, as of those tests that say nothing."""
    return settings(max_examples=max(1, number * settings.default.max_examples // 100))
