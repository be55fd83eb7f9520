"""Nothing is left behind."""

from __future__ import annotations

import os
import threading

import pytest

import pyjail
from tests.jail.grading.checks import check


@pytest.fixture
def nothing_left():
    """No fd and no thread more than before."""
    check("f = abs")
    pyjail.close()
    before = set(os.listdir("/proc/self/fd")), threading.active_count()
    yield
    pyjail.close()
    assert (set(os.listdir("/proc/self/fd")), threading.active_count()) == before
