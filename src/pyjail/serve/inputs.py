"""Files that runs name by their digest, held in the store while they are needed: `held`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pyjail.serve.files import FileStore, Held
from pyjail.serve.job import Kept
from pyjail.serve.problem import Problem


@asynccontextmanager
async def held(store: FileStore | None, tenant: str, files: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
    """The files with a path of this machine in the place of each `Kept`, which stays while the block lasts; the same
    object where there is none. Raises `Problem` 422 for one that this tenant has not."""
    wanted = {path: data.digest for path, data in files.items() if isinstance(data, Kept)}
    if not wanted:
        yield files
        return
    if store is None:
        raise Problem(501, "files", "this service keeps no files")
    asking = asyncio.ensure_future(asyncio.to_thread(store.hold, tenant, wanted))
    try:
        holding = await asyncio.shield(asking)
    except asyncio.CancelledError:
        asking.add_done_callback(_let_go)
        raise
    with holding as paths:
        yield {**files, **paths}


def _let_go(asking: asyncio.Future[Held]) -> None:
    if asking.exception() is None:
        with asking.result():
            pass
