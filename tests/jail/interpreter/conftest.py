"""An interpreter for a file's tests: each begins without state."""

from __future__ import annotations

import gc
import os
import threading
import time

import pytest

import pyjail
from tests import place
from tests.conftest import SLOW


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where there is no box there is no interpreter (test_refused.py)."""
    for item in items:
        if "/jail/interpreter/" in str(item.path) and "test_refused" not in str(item.path) and not place.CGROUPS:
            item.add_marker(pytest.mark.skip(reason=place.WITHOUT_CGROUPS))


@pytest.fixture(scope="module")
def shared():
    with pyjail.Interpreter(grace=4 * SLOW) as python:
        yield python


@pytest.fixture
def python(shared):
    shared.restart()
    return shared


def left() -> tuple[set[str], int]:
    """The fds and threads that there are; one thread looks after all jails of a process, and stays."""
    return set(os.listdir("/proc/self/fd")), sum(t.name != "pyjail-upkeep" for t in threading.enumerate())


@pytest.fixture
def nothing_left():
    """No fd and no thread more than before."""
    pyjail.run(["true"])
    pyjail.close()
    before = left()
    yield
    pyjail.close()
    end = time.monotonic() + 10
    while left() != before and time.monotonic() < end:  # a thread that has told its result is leaving
        gc.collect()
        time.sleep(0.01)
    assert left() == before
