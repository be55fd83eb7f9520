"""What tests of registries share."""

from __future__ import annotations

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
