"""The store: what runs need of it, and `Store`, which adds to it, too."""

from __future__ import annotations

import os

from pyjail._base.fds import Fd
from pyjail._images import place as places
from pyjail._images.record import Image
from pyjail._images.shelf import DIGEST, Shelf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Store(Shelf):
    """Images on disk, shared by all processes of one user: each is one tree of files, complete, and never changed.

    ``path``: its directory; default: `place.default`.
    """

    def add(self, source: Any, name: str, bounds: Any = None, **given: Any) -> Image:
        """Read the image of ``source``, verify and unpack it, and give it this name: see `_images.add.add`."""
        from pyjail._images import add

        return add.add(self, source, name, bounds, **given)


def lookup(name: str) -> Image:
    """`Store.lookup` of the default store, by the environment of now."""
    return Store().lookup(name)


def lease(id: str, into: Fd) -> None:
    """`Store.lease` of the default store, for as long as ``into`` has its fd."""
    store = Store()
    with store.lock(id) as lock:
        store.lease(id, lock)
        into.adopt(lock.fileno(), os.dup)


Stamp = tuple[str, int, int]  # a file, its inode, its mtime in ns


def stamp(name: str) -> Stamp | None:
    """What tells, as long as it is `current`, that `lookup` answers the same; None where there is no such image."""
    path = places.default()
    digest = DIGEST.fullmatch(name.rpartition("@")[2])
    for file in (f"images/{digest[1]}.json" if digest else "", f"names/{places.file_name(name)}"):
        found = _stamp(f"{path}/{file}") if file else None
        if found is not None:
            return found
    return None


def current(stamp: Stamp) -> bool:
    """Whether nothing has changed since: by one stat(2), as it is asked before every run."""
    return _stamp(stamp[0]) == stamp


def _stamp(file: str) -> Stamp | None:
    try:
        st = os.stat(file)
    except OSError:
        return None
    return file, st.st_ino, st.st_mtime_ns
