"""What `pyjail.images` offers: the store of this user, or the one at ``path``."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable

from pyjail import SpecError
from pyjail._base import units
from pyjail._images import collect
from pyjail._images.record import Image
from pyjail._images.store import Store

Path = str | os.PathLike[str] | None


def load(
    source: str | os.PathLike[str],
    name: str | None = None,
    *,
    path: Path = None,
    platform: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Image:
    """Put an image from this machine into the store: it is verified, unpacked, and has the name; the image.

    Args:
        source: "oci:DIR[:NAME]", "oci-archive:FILE[:NAME]", "docker-archive:FILE[:NAME]", "dir:DIR" (a tree of files),
            "tar:FILE" (such a tree, plain or compressed), or a path, which is looked at.
        name: of the image in the store; what had it before loses it. Default: the one that the archive says.
        path: the store's directory; default: $PYJAIL_HOME/images, else root's /var/lib/pyjail/images or the user's
            ~/.local/share/pyjail/images.
        platform: "linux/arm64/v8", where an index has several; default: this machine's.
        progress: called with (bytes done, bytes in all, what is being done).

    Raises ImageError for what is not acceptable, SpecError for what makes no sense, HostError for what this machine
    lacks, OSError for what cannot be read.
    """
    from pyjail._images import load as loading

    return loading.load(Store(path), os.fspath(source), name, platform=platform, progress=progress)


def list(*, path: Path = None) -> builtins.list[Image]:
    """All images that have a name in the store, by name.

    Raises HostError for a store that is somebody else's, or open to others.
    """
    return Store(path).images()


def get(name: str, *, path: Path = None) -> Image:
    """The image of this name or digest ("sha256:..."). Raises HostError where there is none: nothing is fetched."""
    if not isinstance(name, str):
        raise SpecError("name", name, "the name or the digest of an image is needed, a str")
    return Store(path).lookup(name)


def remove(name: str, *, path: Path = None) -> None:
    """Take the name away, and the image where that was its last one; a digest takes all its names.

    A tree that a process uses stays until `gc` finds it unused. Raises HostError where there is no such image.
    """
    collect.remove(Store(path), name)


def verify(name: str, *, path: Path = None) -> builtins.list[str]:
    """What of the image is not as it was put into the store, one text each; [] when all of it is. Reads every file.

    Raises HostError where there is no such image.
    """
    return collect.verify(Store(path), name)


def gc(max_size: int | str | None = None, older: float | None = None, *, path: Path = None) -> builtins.list[str]:
    """Remove what no name leads to and no process uses, and what killed processes left unfinished; what is gone.

    Args:
        max_size: bytes (or "10G") on disk that the trees may take: images used longest ago go first. Default: any.
        older: seconds; images that were not used for longer go. Default: none goes for its age.

    Raises SpecError, and HostError for a store that is not to be used.
    """
    if older is not None and (isinstance(older, bool) or not isinstance(older, (int, float)) or not older >= 0):
        raise SpecError("older", older, "seconds are needed, 0 or more")
    return collect.gc(Store(path), units.size("max_size", max_size), older)
