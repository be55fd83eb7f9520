"""Names of an archive taken apart, and sets of many paths in little memory."""

from __future__ import annotations

from array import array

from pyjail._images.errors import ImageError
from pyjail._images.tar import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._images.bounds import Bounds

ALL = (1 << 64) - 1


def parts(name: bytes, bounds: Bounds) -> list[bytes]:
    """The components of ``name`` below the root; none for the root itself. Errors: ImageError, with the rule."""
    what = f"entry {shown(name)}"
    if len(name) > bounds.path:
        raise bounds.exceeded("path", what)
    found = [part for part in name.split(b"/") if part and part != b"."]
    if b".." in found:
        raise ImageError(what, "a name with '..' is not taken")
    if b"\0" in name:
        raise ImageError(what, "a name with a zero byte is not taken")
    if len(found) > bounds.depth:
        raise bounds.exceeded("depth", what)
    if found and max(map(len, found)) > bounds.component:
        raise bounds.exceeded("component", what)
    return found


def joined(above: bytes, base: bytes) -> bytes:
    """The path of ``base`` in the directory ``above``, which is b"" for the root."""
    return above + b"/" + base if above else base


class Paths:
    """A set of paths, 8 to 16 bytes each however long they are: of each its (keyed, 64 bits wide) hash is kept."""

    def __init__(self) -> None:
        self._slots = array("Q", [0]) * 1024
        self._count = 0

    def add(self, path: bytes) -> None:
        """Put ``path`` into the set."""
        if self._put(hash(path) & ALL or 1):
            self._count += 1
            if 2 * self._count > len(self._slots):
                old, self._slots = self._slots, array("Q", [0]) * (2 * len(self._slots))
                for key in filter(None, old):
                    self._put(key)

    def __contains__(self, path: bytes) -> bool:
        key = hash(path) & ALL or 1
        slots = self._slots
        mask = len(slots) - 1
        at = key & mask
        while (found := slots[at]) and found != key:
            at = (at + 1) & mask
        return bool(found)

    def __len__(self) -> int:
        return self._count

    def _put(self, key: int) -> bool:
        slots = self._slots
        mask = len(slots) - 1
        at = key & mask
        while found := slots[at]:
            if found == key:
                return False
            at = (at + 1) & mask
        slots[at] = key
        return True
