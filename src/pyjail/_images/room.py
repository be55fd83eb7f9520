"""How much of a disk a store takes, and may take: `size`, `Room`."""

from __future__ import annotations

import contextlib
import os

from pyjail._base import units
from pyjail._base.errors import HostError
from pyjail._base.fds import Fd
from pyjail._images import listing
from pyjail._images.shelf import Shelf

_BLOCK = 512

Sizes = dict[tuple[int, int], int]  # of files, by device and inode


def ids(store: Shelf) -> set[str]:
    """Of all trees of the store."""
    return {name.partition(".")[0] for name in os.listdir(f"{store.path}/roots")}


def size(store: Shelf) -> int:
    """Bytes on disk of all trees; a file that has names in several counts once."""
    return sum(_sizes(store).values())


def _sizes(store: Shelf) -> Sizes:
    found: Sizes = {}
    for id in ids(store):
        with contextlib.suppress(FileNotFoundError):
            found |= _of(store.tree(id))
    return found


def _of(tree: str) -> Sizes:
    with Fd(os.open, tree, listing.DIRECTORY) as root:
        found = (found.status for found in listing.walk(root.number))
        return {(s.st_dev, s.st_ino): s.st_blocks * _BLOCK for s in found}


class Room:
    """Whether ``max_size`` bytes on disk are enough for one more image; None: whatever there is.

    Nothing is removed for it. Raises HostError when they are all taken already, before anything is unpacked.
    """

    def __init__(self, store: Shelf, max_size: int | None) -> None:
        self._store, self._most = store, max_size
        if max_size is not None and size(store) >= max_size:
            fix = f"pyjail image gc --max-size {units.show_size(max_size // 2)}, or raise max_size of [images]"
            raise self._exceeded(max_size, "another image", fix)

    def check(self, tree: str) -> None:
        """Raises HostError when the new ``tree``, which is in staging, is too large for it. `Place.names` is held."""
        if self._most is None:
            return
        there, new = _sizes(self._store), _of(tree)
        needed = sum(new[file] for file in new.keys() - there.keys())
        whole = sum(there.values()) + needed
        if whole > self._most:
            fix = f"raise max_size of [images] to {units.show_size(whole)}"
            if needed < self._most:
                fix = f"pyjail image gc --max-size {units.show_size(self._most - needed)}, or {fix}"
            raise self._exceeded(self._most, f"the image's {units.show_size(needed)}", fix)

    def _exceeded(self, most: int, what: str, fix: str) -> HostError:
        why = f"there is no room for {what} in {self._store.path}: its max_size is {units.show_size(most)}"
        return HostError("image store", why, fix)
