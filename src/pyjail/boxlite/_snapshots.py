"""Snapshots of a box by name: `SnapshotHandle`."""

from __future__ import annotations

import builtins
import time
import uuid
from typing import Any

from pyjail import Snapshot
from pyjail.boxlite._errors import AlreadyExistsError, NotFoundError, ours
from pyjail.boxlite._info import SnapshotInfo
from pyjail.boxlite._options import SnapshotOptions


class SnapshotHandle:
    """The snapshots of a box: files and directories of all places that can be written to, as they were. In memory."""

    def __init__(self, box: Any) -> None:
        self._box = box
        self._taken: dict[str, tuple[SnapshotInfo, Snapshot]] = {}

    async def create(self, name: str, *, options: SnapshotOptions | None = None) -> SnapshotInfo:
        """Take one. AlreadyExistsError: there is one of this name."""
        if name in self._taken:
            raise AlreadyExistsError(f"snapshot {name!r} is there already: remove({name!r}) first")
        with ours(files=True):
            taken = await self._box.inner.snapshot()
        files: Any = taken.files  # whose holes are not to be filled
        size = sum(content.stored for _, content in files.stored.values())
        info = SnapshotInfo(uuid.uuid4().hex, self._box.id, name, int(time.time()), size)
        self._taken[name] = info, taken
        return info

    async def restore(self, name: str) -> None:
        """End all programs of the box, and put its files back as they were. NotFoundError."""
        taken = self._find(name)[1]
        with ours(files=True):
            await self._box.inner.kill()
            await self._box.inner.restore(taken)

    async def list(self) -> builtins.list[SnapshotInfo]:
        """All of them, the oldest first."""
        return [info for info, _ in self._taken.values()]

    async def get(self, name: str) -> SnapshotInfo | None:
        """The one of this name, or None."""
        return self._taken[name][0] if name in self._taken else None

    async def remove(self, name: str) -> None:
        """Forget it. NotFoundError."""
        self._find(name)
        del self._taken[name]

    def _find(self, name: str) -> tuple[SnapshotInfo, Snapshot]:
        if name not in self._taken:
            raise NotFoundError(f"no snapshot {name!r}: {', '.join(map(repr, self._taken)) or 'there is none'}")
        return self._taken[name]
