"""The store of images, whole: what is in it, and what adds to it."""

from __future__ import annotations

from pyjail._images.record import Image
from pyjail._images.shelf import Shelf

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
