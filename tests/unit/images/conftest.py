"""What tests of images share: registries, a directory that nothing stays in, fds of which none stays."""

from __future__ import annotations

import os

import pytest

from tests import images_registry as fake


@pytest.fixture
def there():
    """A registry that has team/app:1."""
    with fake.registry() as made:
        made.add(fake.LAYER)
        yield made


@pytest.fixture
def elsewhere():
    """Another one."""
    with fake.registry() as made:
        made.add(fake.LAYER)
        yield made


@pytest.fixture
def tokens(there):
    """One that wants a token, which it gives itself."""
    there.realm = f"{there.url}/token"
    return there


@pytest.fixture
def staging(tmp_path):
    place = tmp_path / "staging"
    place.mkdir()
    yield str(place)
    assert os.listdir(place) == []


@pytest.fixture
def nothing_stays_open():
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before
