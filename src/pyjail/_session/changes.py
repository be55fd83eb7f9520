"""How a root that can be written to differs from its image: `RootChange`."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from pyjail._base.records import dataclass
from pyjail._base.shown import Shown
from pyjail._keeper.shared import SharedKeeper as Keeper
from pyjail._session import upper
from pyjail._session.box import MOST_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["added", "changed", "removed"]

_PIECE = 1 << 20
_TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo"}


@dataclass(frozen=True, repr=False)
class RootChange(Shown):
    """A path that is not what it is in the image.

    Attributes:
        path: absolute. kind: "added", "changed" or "removed"; of a directory that was removed, or became something
            else, what was in it is not told.
        type: "file", "directory", "symlink", "fifo" or "socket"; of what was removed, what it was.
        size: bytes of a file or of a symlink's target, else 0. mode: permission bits.
    """

    path: str
    kind: Kind
    type: str
    size: int
    mode: int

    def _words(self) -> Iterator[str]:
        yield f"{self.kind} {self.path}"
        yield f"{self.type} of {self.size} bytes, {self.mode:04o}"


def changes(keeper: Keeper) -> list[RootChange]:
    """See `Session.root_changes`."""
    found, named = [], 0
    for one in upper.walk(keeper):
        if _is_still(keeper, one):
            continue
        named += len(one.path)
        if named > MOST_NAMES:
            raise OSError(errno.EFBIG, f"more than {MOST_NAMES >> 20} MiB of names in all")
        found.append(_told(one))
    return sorted(found, key=lambda change: change.path)


def _told(found: upper.Found) -> RootChange:
    now = found.was if found.now is None else found.now
    assert now is not None
    kind: Kind = "removed" if found.now is None else "added" if found.was is None else "changed"
    what, mode = _TYPES.get(stat.S_IFMT(now.st_mode), "socket"), now.st_mode
    size = now.st_size if what in ("file", "symlink") else 0
    return RootChange("/" + found.path, kind, what, size, stat.S_IMODE(mode))


def _is_still(keeper: Keeper, found: upper.Found) -> bool:
    try:
        return is_as_it_was(keeper, found)
    except OSError as e:
        if e.errno not in (*upper.GONE, errno.ENXIO, errno.EINVAL):
            raise
        return False  # a running program changes it


def is_as_it_was(keeper: Keeper, found: upper.Found) -> bool:
    """Whether what was written there is what the image has there: it was opened to be written to, or something in it
    has changed."""
    now, was = found.now, found.was
    if now is None or was is None or now.st_mode != was.st_mode:
        return False
    if stat.S_ISDIR(now.st_mode):
        return True
    if now.st_size != was.st_size:
        return False
    with upper.image_of(keeper) as root, upper.below(root.number, found.path) as old:
        name = found.path.rpartition("/")[2]
        if stat.S_ISLNK(now.st_mode):
            return upper.target(keeper, found.path) == os.readlink(name, dir_fd=old.number)
        return (
            stat.S_ISREG(now.st_mode) and now.st_mtime_ns == was.st_mtime_ns and _same(keeper, found.path, old.number)
        )


def _same(keeper: Keeper, path: str, old: int) -> bool:
    """Whether the contents are: who can change a file can set its time back, too."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with (
        upper.opened(keeper, path, flags) as new,
        upper.at(old, path.rpartition("/")[2], flags) as before,
    ):
        while True:
            piece = os.read(new.number, _PIECE)
            if piece != os.read(before.number, _PIECE):
                return False
            if not piece:
                return True
