"""How much an image may be: `Bounds`. What exceeds one is refused by its name."""

from __future__ import annotations

from typing import NamedTuple

from pyjail._images.errors import ImageError


class Bounds(NamedTuple):
    """The largest image that is taken: sizes in bytes, the rest in pieces.

    ``compressed`` and ``unpacked`` are of all layers together; ``entries`` is what is made for them, parents that no
    entry names included; ``header`` is one extension header of an archive; ``path``, ``component`` and ``depth`` are
    of one name in it. ``manifest`` and ``config`` are documents, ``index_entries`` and ``index_depth`` an index,
    ``layers`` the layers of one manifest, ``zstd_window`` the memory that a zstd layer asks for.
    """

    compressed: int = 4 << 30
    unpacked: int = 16 << 30
    entries: int = 1_000_000
    header: int = 1 << 20
    path: int = 4095
    component: int = 255
    depth: int = 200
    manifest: int = 4 << 20
    config: int = 8 << 20
    index_entries: int = 1000
    index_depth: int = 2
    layers: int = 256
    zstd_window: int = 128 << 20

    def exceeded(self, name: str, what: str) -> ImageError:
        """The error that ``what`` (the part at fault) is larger than the bound ``name``."""
        return ImageError(what, f"more than the bound {name}={getattr(self, name):,} allows")
