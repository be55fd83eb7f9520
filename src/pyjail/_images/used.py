"""What a run needs of the store, and no more: the first one of a process waits for it to be loaded."""

from __future__ import annotations

import fcntl
import os

from pyjail._base.errors import HostError
from pyjail._base.fds import Fd
from pyjail._images import place as places
from pyjail._images.lock import Lock
from pyjail._images.place import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Stamp = tuple[str, int, int]  # a file, its inode, its mtime in ns

_HEX = frozenset("0123456789abcdef")


def hex_of(digest: str) -> str:
    """The 64 digits of "sha256:..."; "" of anything else. (Without re, which takes longer than all of this.)"""
    digits = digest[7:]
    return digits if digest.startswith("sha256:") and len(digits) == 64 and _HEX.issuperset(digits) else ""


def record(place: Place, name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(its digest, what images/ has of it, where it came from) of the image of this name, or of this digest, also
    behind a name and "@". Raises HostError where there is none: nothing is ever fetched."""
    found = find(place, name) if place.there() else None
    if found is None:
        fix = f"pyjail image pull {name}, or pyjail image load FILE --name {name}"
        raise HostError("image", f"there is no image {name} in the store {place.path}", fix)
    return found


def find(place: Place, name: str) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
    """As `record`, of a store that is there; None: no such image."""
    for _ in range(3):  # the name may be another digest's before that is read
        digest, origin = name.rpartition("@")[2], {}
        digits = hex_of(digest)
        known = place.read(f"images/{digits}.json") if digits else None
        if known is None:
            said = place.read(f"names/{places.file_name(name)}")
            if said is None:
                return None
            digest, origin = said["digest"], said["origin"]
            known = place.read(f"images/{digest.partition(':')[2]}.json")
        if known is not None:
            return digest, known, origin or known["origin"]
    return None


def tree(place: Place, id: str) -> str:
    """The path of the tree ``id``."""
    return f"{place.path}/roots/{id}"


def keep(place: Place, id: str, lock: Lock) -> None:
    """With its ``lock``, keep the tree ``id`` from being removed for as long as that, or a copy of its fd, is open
    anywhere.

    Raises HostError when the tree is gone.
    """
    try:
        lock.take(fcntl.LOCK_SH, create=False)
    except FileNotFoundError:
        raise _gone(place, id) from None
    if not os.path.isdir(tree(place, id)):
        raise _gone(place, id)
    os.utime(lock.fileno())  # used now: `gc` goes by it


def _gone(place: Place, id: str) -> HostError:
    return HostError("image", f"the tree {id} is no longer in the store {place.path}", "load or pull the image again")


# ---- of the default store, by the environment of now ----


def lookup(name: str) -> tuple[str, str, dict[str, Any]]:
    """(the image's digest, its tree's path, what images/ has of it). Raises HostError as `record`."""
    place = Place()
    digest, known, _ = record(place, name)
    return digest, tree(place, known["id"]), known


def lease(id: str, into: Fd) -> None:
    """`keep`, for as long as ``into`` has its fd."""
    place = Place()
    with place.lock(id) as lock:
        keep(place, id, lock)
        into.adopt(lock.fileno(), os.dup)


def stamp(name: str) -> Stamp | None:
    """What tells, as long as it is `current`, that `lookup` answers the same; None where there is no such image."""
    path = places.default()
    digits = hex_of(name.rpartition("@")[2])
    for file in (f"images/{digits}.json" if digits else "", f"names/{places.file_name(name)}"):
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
