"""These tests are about cgroup v2 itself: they are collected where it is the only hierarchy (`./dev test-vm`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import place
from tests.vm.cells import end_forker

if not place.is_v2():
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    yield
    end_forker()
