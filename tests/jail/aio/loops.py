"""The event loops that everything here is tried on."""

from __future__ import annotations

import anyio

from pyjail import Limits
from tests.conftest import SLOW

FOREVER = Limits(wall_time=None)
LOOPS = {
    "asyncio": {"backend": "asyncio", "backend_options": {"debug": True}},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


async def there(condition) -> None:
    """Wait until it is so."""
    with anyio.fail_after(20 * SLOW):
        while not condition():
            await anyio.sleep(0.01)
