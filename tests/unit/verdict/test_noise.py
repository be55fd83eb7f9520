"""What counts as a disturbed run."""

from __future__ import annotations

import pytest

from pyjail._verdict.noise import reasons

QUIET = {"cpu": 900, "memory": 0, "io": 0}


@pytest.mark.parametrize(
    ("facts", "quiet", "words"),
    [
        ((0.1, 0.1, 0.0, QUIET, (1, 5)), True, ()),
        ((0.1, 0.1, 0.02, QUIET, (1, 5)), False, ("throttled: 20.0 ms",)),
        ((0.1, 0.1, None, {"cpu": 2000, "memory": 30000, "io": 0}, (1, 5)), False, ("cpu pressure: 2.0 ms", "memory pressure: 30.0 ms")),
        ((0.1, 0.1, None, None, (1, 21)), False, ("involuntary switches: 21",)),
        ((10.0, 10.0, 0.05, QUIET, (9, 1010)), True, ()),
        ((0.002, 0.002, 0.0004, {"cpu": 400}, (0, 0)), True, ()),
        ((0.1, 0.1, 0.0, None, None), None, ()),
        ((None, 0.0, None, QUIET, (0, 0)), None, ()),
    ],
)  # fmt: skip
def test_reasons(facts, quiet, words):
    found, why = reasons(*facts)
    assert found is quiet
    assert len(why) == len(words)
    assert all(line.startswith(word) for line, word in zip(why, words, strict=True))
