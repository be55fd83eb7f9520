"""What `pyjail.images` offers: the store of this user, or the one at ``path``, or that of ``settings``."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable

from pyjail import SpecError
from pyjail._base import units
from pyjail._images import collect, reference
from pyjail._images.bounds import Bounds
from pyjail._images.record import Image
from pyjail.images._settings import Settings, bounds_of, store

Path = str | os.PathLike[str] | None


def load(
    source: str | os.PathLike[str],
    name: str | None = None,
    *,
    path: Path = None,
    platform: str | None = None,
    bounds: Bounds | None = None,
    settings: Settings | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Image:
    """Put an image from this machine into the store: it is verified, unpacked, and has the name; the image.

    Args:
        source: "oci:DIR[:NAME]", "oci-archive:FILE[:NAME]", "docker-archive:FILE[:NAME]", "dir:DIR" (a tree of files),
            "tar:FILE" (such a tree, plain or compressed), or a path, which is looked at.
        name: of the image in the store; what had it before loses it. Default: the one that the archive says.
        path: the store's directory; default: that of ``settings``, else $PYJAIL_IMAGES, else $PYJAIL_HOME/images, else
            root's /var/lib/pyjail/images or the user's ~/.local/share/pyjail/images.
        platform: "linux/arm64/v8", where an index has several; default: this machine's.
        bounds: how large it may be. Default: those of ``settings``, else `Bounds()`.
        settings: of a configuration; its ``max_size`` is what all trees may take on disk then.
        progress: called with (bytes done, bytes in all, what is being done).

    Raises ImageError for what is not acceptable, SpecError for what makes no sense, HostError for what this machine
    lacks, OSError for what cannot be read.
    """
    from pyjail._images import load as loading

    there, limits = store(path, settings), bounds_of(bounds, settings)
    most = settings.max_size if settings is not None else None
    return loading.load(
        there, os.fspath(source), name, platform=platform, progress=progress, bounds=limits, max_size=most
    )


def list(*, path: Path = None, settings: Settings | None = None) -> builtins.list[Image]:
    """All images that have a name in the store, by name.

    Raises HostError for a store that is somebody else's, or open to others.
    """
    return store(path, settings).images()


def get(name: str, *, path: Path = None, settings: Settings | None = None) -> Image:
    """The image of this name or digest ("sha256:..."). Raises HostError where there is none: nothing is fetched."""
    if not isinstance(name, str):
        raise SpecError("name", name, "the name or the digest of an image is needed, a str")
    return store(path, settings).lookup(name)


def check_name(name: str) -> str:
    """``name``, if an image of the store may be called so; what takes long before it is needed asks first.

    Raises SpecError: letters, digits and "._:/@+-" are taken, a letter or digit first; no digest.

    >>> from pyjail import images
    >>> images.check_name("python:3.12")
    'python:3.12'
    """
    return reference.local_name(name)


def remove(name: str, *, path: Path = None, settings: Settings | None = None) -> None:
    """Take the name away, and the image where that was its last one; a digest takes all its names.

    A tree that a process uses stays until `gc` finds it unused. Raises HostError where there is no such image.
    """
    collect.remove(store(path, settings), name)


def verify(name: str, *, path: Path = None, settings: Settings | None = None) -> builtins.list[str]:
    """What of the image is not as it was put into the store, one text each; [] when all of it is. Reads every file.

    Raises HostError where there is no such image.
    """
    return collect.verify(store(path, settings), name)


def gc(
    max_size: int | str | None = None,
    older: float | None = None,
    *,
    path: Path = None,
    settings: Settings | None = None,
) -> builtins.list[str]:
    """Remove what no name leads to and no process uses, and what killed processes left unfinished; what is gone.

    Args:
        max_size: bytes (or "10G") on disk that the trees may take: images used longest ago go first. Default: that of
            ``settings``, else any.
        older: seconds; images that were not used for longer go. Default: none goes for its age.

    Raises SpecError, and HostError for a store that is not to be used.
    """
    if older is not None and (isinstance(older, bool) or not isinstance(older, (int, float)) or not older >= 0):
        raise SpecError("older", older, "seconds are needed, 0 or more")
    there, most = store(path, settings), units.size("max_size", max_size)
    return collect.gc(there, settings.max_size if most is None and settings is not None else most, older)
