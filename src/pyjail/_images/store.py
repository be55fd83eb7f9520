"""The store: what runs need of it, and `Store`, which adds to it, too."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from pyjail._images import place as places
from pyjail._images.record import Image
from pyjail._images.shelf import DIGEST, Shelf


class Store(Shelf):
    """Images on disk, shared by all processes of one user: each is one tree of files, complete, and never changed.

    ``path``: its directory; default: $PYJAIL_HOME/images, else /var/lib/pyjail/images for root, and
    $XDG_DATA_HOME/pyjail/images (~/.local/share) for a user.
    """

    def add(self, source: Any, name: str, bounds: Any = None, **given: Any) -> Image:
        """Read the image of ``source``, verify and unpack it, and give it this name: see `_images.add.add`."""
        from pyjail._images import add

        return add.add(self, source, name, bounds, **given)


def lookup(name: str) -> Image:
    """`Store.lookup` of the default store, by the environment of now."""
    return Store().lookup(name)


def lease(id: str) -> int:
    """`Store.lease` of the default store."""
    return Store().lease(id)


def stamp(name: str) -> object:
    """What stays equal as long as `lookup` answers the same: by stat(2) alone; None where there is no such image."""
    path = places.default()
    digest = DIGEST.fullmatch(name.rpartition("@")[2])
    for file in (f"images/{digest[1]}.json" if digest else "", f"names/{places.file_name(name)}"):
        if file:
            with contextlib.suppress(OSError):
                st = os.stat(f"{path}/{file}")
                return path, file, st.st_ino, st.st_mtime_ns
    return None
