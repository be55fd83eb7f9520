"""How much an image may be: `Bounds`. What exceeds one is refused by its name, and told how to raise it."""

from __future__ import annotations

from pyjail._base import units
from pyjail._base.errors import SpecError
from pyjail._base.records import dataclass
from pyjail._base.shown import Shown
from pyjail._images.errors import ImageError

SIZES = ("compressed", "unpacked", "header", "manifest", "config", "zstd_window")  # of bytes; others are numbers
MOST = {
    "compressed": 1 << 50, "unpacked": 1 << 50, "entries": 100_000_000, "header": 64 << 20,
    "path": 4095, "component": 255,  # what the kernel takes
    "depth": 400,  # a directory that is read has as many fds open as it is deep
    "manifest": 64 << 20, "config": 64 << 20, "index_entries": 100_000, "index_depth": 8, "layers": 10_000,
    "zstd_window": 1 << 31,
}  # fmt: skip
_LEAST = {"zstd_window": 1 << 10}  # of a frame


@dataclass(frozen=True, repr=False)
class Bounds(Shown):
    """The largest image that is taken: sizes in bytes (or text, such as "32G"), the rest in pieces. Frozen, hashable.

    Attributes:
        compressed: of all layers together, as they are stored. 4 GiB.
        unpacked: of all layers together, as archives. 16 GiB.
        entries: what is made for them, parents that no entry names included. 1,000,000.
        header: one extension header of an archive. 1 MiB.
        path: bytes of one name in it, or of a symlink's target. 4,095, which is the most.
        component: bytes of one component of a name. 255, which is the most.
        depth: components of a name. 200.
        manifest: a manifest or an index. 4 MiB.
        config: a configuration. 8 MiB.
        index_entries: of one index. 1,000.
        index_depth: indexes in one another. 2.
        layers: of one manifest. 256.
        zstd_window: memory that a zstd layer asks for. 128 MiB.

    Raises SpecError for what is no such number. What makes an image large takes memory, too: who unpacks it may have
    512 MiB, and more for a larger ``zstd_window``, ``header`` and ``entries``.

    >>> from pyjail import images
    >>> images.Bounds(unpacked="32G").unpacked
    34359738368
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

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            given = value = getattr(self, name)
            least = _LEAST.get(name, 1)
            if name in SIZES and isinstance(given, str):
                value = units.size(name, given)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                text = ', or text such as "4G"' if name in SIZES else ""
                raise SpecError(name, given, f"a number from {least:,} to {most:,} is needed{text}")
            object.__setattr__(self, name, value)

    def exceeded(self, name: str, what: str) -> ImageError:
        """The error that ``what`` (the part at fault) is larger than the bound ``name``."""
        return ImageError(what, f"more than {allowed(name, getattr(self, name))}")


def allowed(name: str, value: int) -> str:
    """In words what the bound is, and how to raise it where that can be done."""
    fix = f"; bounds=images.Bounds({name}=...) raises it" if value < MOST.get(name, 0) else ""
    return f"the bound {name}={value:,} allows{fix}"
