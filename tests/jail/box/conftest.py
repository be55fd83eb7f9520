"""A box with a small disk; nothing is left of any."""

from __future__ import annotations

import gc

import pytest

import pyjail
from pyjail import Box
from tests import place
from tests.host_side import left_over
from tests.jail.box.programs import LIMITS
from tests.scripts import until


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where no cgroup tells its programs apart, there is no box (test_refused.py)."""
    for item in items:
        if "/jail/box/" in str(item.path) and "test_refused" not in str(item.path) and not place.CGROUPS:
            item.add_marker(pytest.mark.skip(reason=place.WITHOUT_CGROUPS))


@pytest.fixture(autouse=True)
def nothing_is_left():
    pyjail.run(["true"])
    pyjail.close()
    before = left_over()
    yield
    gc.collect()
    pyjail.close()
    assert until(lambda: left_over() == before), (before, left_over())


@pytest.fixture
def box():
    with Box(limits=LIMITS, disk="16M", inodes=2000) as made:
        yield made
