"""The jail of a box: the caller's, and the places that its programs may write to."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pyjail._base.errors import SpecError
from pyjail._base.records import replace
from pyjail._plan import image
from pyjail._spec.jail import Jail, Mount, inside

WRITABLE = ("/tmp", "/var/tmp", "/home")
MOST = 64
SHARED = "/dev/shm"


def made(jail: Jail, disk: int | None, inodes: int | None, writable: object) -> Jail:
    """The jail with /box, ``writable`` and /dev/shm as parts of one tmpfs. SpecError for what cannot be."""
    if jail.deterministic:
        why = "programs that run side by side are chance themselves: Jail(deterministic=False), or run()"
        raise SpecError("jail", jail, why)
    tmpfs = next((m for m in jail.mounts if m.kind not in ("bind", "link")), None)
    if tmpfs is not None:
        raise SpecError("jail", jail, f"{tmpfs.dst} is made anew for each run: name it in writable= instead")
    places = ["/box", *_checked(writable), SHARED]
    for mount in jail.mounts:
        over = next((path for path in places if f"{mount.dst}/".startswith(f"{path}/")), None)
        if over is not None:
            raise SpecError("jail", jail, f"{mount.dst} is mounted in {over}, which is to be the box's own")
    whole = Mount("box", "/box", None, False, disk, inodes)
    parts = [Mount("part", path, None, False) for path in places[1:]]
    # Fresh keepers end with their run; this one is the box's own as it is.
    return replace(image.pinned(jail), mounts=(*jail.mounts, whole, *parts), fresh=False)


def _checked(writable: object) -> list[str]:
    if isinstance(writable, (str, bytes, os.PathLike)) or not isinstance(writable, Sequence):
        raise SpecError("writable", writable, "a tuple of absolute paths inside is needed")
    paths = [inside("writable", path) for path in writable]
    paths = [path for path in dict.fromkeys(paths) if path not in ("/box", SHARED)]
    if len(paths) > MOST:
        raise SpecError("writable", writable, f"not more than {MOST} places; one can hold many directories")
    for path in paths:
        if path == "/" or f"{path}/".startswith(("/proc/", "/dev/")):
            raise SpecError("writable", path, "root, /proc and /dev are the jail's own; name a directory")
        above = next((other for other in ("/box", *paths) if path.startswith(f"{other}/")), None)
        if above is not None:
            raise SpecError("writable", path, f"it lies in {above}, which is writable: make it there")
    return paths
