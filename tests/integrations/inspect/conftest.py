"""One environment, made as Inspect makes it; on both event loops that Inspect runs on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from inspect_ai.util._concurrency import init_concurrency

from pyjail.integrations.inspect import PyjailConfig, PyjailSandboxEnvironment
from tests.host_side import leaves_of
from tests.scripts import until

CONFIG = PyjailConfig()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def another_loop() -> None:
    """Inspect keeps its limiters for the process, and makes them anew when a run begins."""
    init_concurrency()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No leaf of a box is on the host when its test has ended."""
    before = set(leaves_of(os.getpid()))
    yield
    assert until(lambda: not [path for path in set(leaves_of(os.getpid())) - before if "/box" in path])


@pytest.fixture
async def sandbox(anyio_backend: str) -> AsyncIterator[PyjailSandboxEnvironment]:
    environments = await PyjailSandboxEnvironment.sample_init("task", CONFIG, {})
    try:
        yield environments["default"].as_type(PyjailSandboxEnvironment)
    finally:
        await PyjailSandboxEnvironment.sample_cleanup("task", CONFIG, environments, False)
