"""Unit tests are pure: none of them runs a program in a jail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import place
from tests.inside import no_keepers


@pytest.fixture(scope="package", autouse=True)
def pure() -> Iterator[None]:
    with no_keepers(), place.as_it_is():
        yield
