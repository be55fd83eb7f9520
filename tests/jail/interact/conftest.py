"""Nothing is left of any conversation."""

from __future__ import annotations

import gc
import os

import pytest

import pyjail
from tests.host_side import keepers_of, left_over
from tests.scripts import until


@pytest.fixture(autouse=True)
def nothing_is_left():
    pyjail.run(["true"])
    gc.collect()
    pyjail.close()
    before, others = left_over(), set(keepers_of(os.getpid()))
    yield
    gc.collect()
    pyjail.close()
    assert until(lambda: not set(keepers_of(os.getpid())) - others)
    assert until(lambda: left_over() == before), (before, left_over())
