"""What a jail's root may be made of, where that is neither this host's nor a rootfs alone."""

from __future__ import annotations

from pyjail._base import units
from pyjail._base.errors import SpecError

LEAST = 1 << 16  # bytes of a root's changes


def image(value: object, rootfs: object, tree: type, python: object) -> str | None:
    """The name of an image, None for None. SpecError for what is none, or for a second root beside it or a Python of
    this host in it. ``tree``: of what a plan makes of an image, which may be beside it."""
    if python is not None and (rootfs is not None or value is not None):
        whose = "a rootfs" if value is None else "an image"
        fix = f"{whose} has its own: put its directory into the PATH of env="
        raise SpecError("python", python, f"an interpreter of this host needs this host's libraries; {fix}")
    if value is None:
        return None
    name = getattr(value, "digest", value)  # of an Image: that very one, whatever its name comes to mean
    if not isinstance(name, str) or not name.isprintable() or not name:
        raise SpecError("image", value, "an image's name in the store, its digest or an Image is needed")
    if rootfs is not None and type(rootfs) is not tree:
        raise SpecError("image", value, f"an image is the whole root, and so is rootfs={rootfs!r}: give one of them")
    return name


def writable(value: object, rootfs: object, image: object) -> int | None:
    """Bytes of a root's changes, None for None. SpecError for what are none, or for the host's own root."""
    size = units.size("writable_root", value)
    if value is None or size is None:
        return None
    if rootfs is None and image is None:
        why = "this host's own directories stay read-only: give image= or rootfs=, of which there is to be a copy"
        raise SpecError("writable_root", value, why)
    if size < LEAST:
        raise SpecError("writable_root", value, f"{LEAST} bytes at least")
    return size
