"""Names that lead through symlinks, and hard links that come before what they name."""

from __future__ import annotations

import os
import stat

from pyjail._images.errors import ImageError
from pyjail._images.paths import joined
from pyjail._images.tar import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyjail._images.bounds import Bounds
    from pyjail._images.dirs import Dir, Dirs

STEPS = 40  # symlinks on the way to one entry, as in the kernel
WAITING = 8 << 20  # bytes of hard links that come before what they name


def resolved(
    dirs: Dirs,
    names: list[bytes],
    bounds: Bounds,
    mine: Callable[[bytes], bool],
    make: Callable[[Dir, bytes], Dir] | None = None,
) -> Dir | None:
    """The directory of ``names``; what is missing on the way is made by ``make``, else there is none (None).

    A symlink on the way that is of this layer (``mine``) leads to where it leads inside of the root. One of a lower
    layer is no directory: what ``make`` returns takes its place, as an overlay of the layers would show it; but in
    the target of another symlink it leads on, too.
    """
    here, steps = dirs.root, 0
    todo = [(name, True) for name in reversed(names)]
    while todo:
        base, own = todo.pop()
        if base == b"..":
            here = _above(dirs, here)
            continue
        path = joined(here.path, base)
        if len(path) > bounds.path or path.count(b"/") >= bounds.depth:
            raise bounds.exceeded("depth", f"entry {shown(b'/'.join(names))}, through its symlinks")
        try:
            here = dirs.child(here, base)
            continue
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            if (target := _target(here, base)) is not None and (mine(path) or not own):
                steps += 1
                if steps > STEPS:
                    raise ImageError(
                        f"entry {shown(b'/'.join(names))}", f"more than {STEPS} symlinks on its way"
                    ) from None
                if target.startswith(b"/"):
                    here = dirs.root
                todo += [(part, False) for part in reversed(target.split(b"/")) if part and part != b"."]
                continue
            if mine(path):
                what = f"entry {shown(b'/'.join(names))}"
                raise ImageError(what, f"below {shown(path)}, which the same layer made a file") from None
        if make is None:
            return None
        here = make(here, base)
    return here


def _above(dirs: Dirs, here: Dir) -> Dir:
    """The directory that ``here`` is in, by its path; of the root the root."""
    found = dirs.root
    for base in here.path.split(b"/")[:-1]:
        found = dirs.child(found, base)
    return found


def _target(here: Dir, base: bytes) -> bytes | None:
    """What the symlink ``base`` points to; None when it is none."""
    if not stat.S_ISLNK(os.stat(base, dir_fd=here.fd, follow_symlinks=False).st_mode):
        return None
    return os.readlink(base, dir_fd=here.fd)


class Later:
    """Hard links that wait for what they name."""

    def __init__(self) -> None:
        self._links: list[tuple[bytes, bytes]] = []
        self._size = 0

    def add(self, path: bytes, target: bytes) -> None:
        """Let ``path`` wait for ``target``."""
        self._size += len(path) + len(target) + 200
        if self._size > WAITING:
            why = f"the names of hard links that come before what they name take more than {WAITING >> 20} MiB"
            raise ImageError(f"entry {shown(path)}", why)
        self._links.append((path, target))

    def settle(self, link: Callable[[bytes, bytes], bool]) -> None:
        """Make all by ``link(path, target)``, which says whether the target was there. Errors: ImageError."""
        waiting: dict[bytes, list[bytes]] = {}
        todo, self._links = self._links[::-1], []
        while todo:
            path, target = todo.pop()
            if link(path, target):
                todo += [(other, path) for other in waiting.pop(path, [])]
            else:
                waiting.setdefault(target, []).append(path)
        for target, paths in waiting.items():
            raise ImageError(f"entry {shown(paths[0])}", f"a hard link to {shown(target)}, which is not there")
