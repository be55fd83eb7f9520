"""A default runtime of its own for each test."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyjail import boxlite
from pyjail.boxlite import _runtime, _sync
from tests.conftest import SLOW

PATIENCE = 60 * SLOW


@pytest.fixture
def default() -> Iterator[Callable[..., boxlite.Boxlite]]:
    """Sets the options of the default runtime."""
    before = list(_runtime._default)

    def chosen(**options: Any) -> boxlite.Boxlite:
        _runtime._default[:] = [boxlite.Boxlite(boxlite.Options(**options))]
        return boxlite.Boxlite.default()

    _sync.wait(asyncio.sleep(0))  # the loop of twins is made once, for good
    chosen(timeout_seconds=PATIENCE)
    yield chosen
    _runtime._default[:] = before


@pytest.fixture
def alpine(tmp_path: Path) -> str:
    """A directory with a static busybox, as a root."""
    root = tmp_path / "alpine"
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    root.chmod(0o755)
    tmp_path.chmod(0o755)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in ("sh", "ls", "cat", "echo", "id", "pwd", "sleep", "mkdir", "tar", "true"):
        (root / "bin" / name).symlink_to("busybox")
    return str(root)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """On a loop of its own, within a human's patience."""

    async def main() -> Any:
        async with asyncio.timeout(2 * PATIENCE):
            return await coroutine

    return asyncio.run(main())
