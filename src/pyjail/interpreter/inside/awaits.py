"""Cells that await something at their top level: one event loop for all cells, which runs while such a cell does."""

from __future__ import annotations

import asyncio
import contextlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

COROUTINE = 0x80
_loop: asyncio.AbstractEventLoop | None = None


def run(codes: list[CodeType], namespace: dict[str, Any]) -> Any:
    """What the last one gives. An interrupt cancels the cell's task, and is raised when that has ended."""
    global _loop
    if _loop is None or _loop.is_closed():
        _loop = asyncio.new_event_loop()
    asyncio.set_event_loop(_loop)
    task = _loop.create_task(_all(codes, namespace))
    try:
        return _loop.run_until_complete(task)
    except BaseException:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
                _loop.run_until_complete(task)
        raise


async def _all(codes: list[CodeType], namespace: dict[str, Any]) -> Any:
    value = None
    for code in codes:
        value = eval(code, namespace)  # noqa: S307
        if code.co_flags & COROUTINE:
            value = await value
    return value
