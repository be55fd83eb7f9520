"""Nothing is left of any test of a pool."""

from __future__ import annotations

import gc
import os

import pytest

import pyjail
from tests.host_side import keepers_of, left_over
from tests.scripts import until


@pytest.fixture(autouse=True)
def others():
    """Nothing is left of a test. The processes below us that are none of its own, such as multiprocessing's."""
    pyjail.run(["true"])  # one fd, of the keeper's program, is kept for good
    pyjail.close()
    before = left_over()
    yield frozenset(keepers_of(os.getpid()))
    gc.collect()
    pyjail.close()
    assert until(lambda: left_over() == before), (before, left_over())
