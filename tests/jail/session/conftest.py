"""A session with a small /box."""

from __future__ import annotations

import pytest

from pyjail import Session
from tests.jail.session.programs import LIMITS


@pytest.fixture
def s():
    with Session(limits=LIMITS, disk="8M", inodes=500) as session:
        yield session
