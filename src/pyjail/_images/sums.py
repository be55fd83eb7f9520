"""The sha256 of each file of a tree: `Sums`."""

from __future__ import annotations

import hashlib
import os
import stat

from pyjail._images.dirs import DIRECTORY
from pyjail._images.errors import ImageError
from pyjail._images.paths import joined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = 100_000  # digests in memory, 20 MB; files beyond are read again
PIECE = 1 << 20


class Sums:
    """Goes through the tree below ``root_fd`` and gives (path, sha256 in hex) of every file."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._kept: dict[int, bytes] = {}

    def note(self, inode: int, digest: bytes, mode: int) -> None:
        """Keep the digest of a file that was just written, by its inode's number: names come and go."""
        if len(self._kept) < KEPT:
            self._kept[inode] = digest
        elif mode & 0o400:
            self._kept.pop(inode, None)  # of a file that is gone
        elif len(self._kept) < 2 * KEPT:
            self._kept[inode] = digest
        else:
            raise ImageError("its files", f"more than {KEPT:,} that their owner may not read")

    def kept(self, inode: int) -> str | None:
        """The digest of this file where it is kept."""
        found = self._kept.get(inode)
        return None if found is None else found.hex()

    def __iter__(self) -> Iterator[tuple[bytes, str]]:
        levels = [self._level(os.dup(self._root_fd), b"")]
        try:
            while levels:
                fd, here, found = levels[-1]
                for entry in found:
                    base = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        levels.append(self._level(os.open(base, DIRECTORY, dir_fd=fd), joined(here, base)))
                        break
                    if entry.is_file(follow_symlinks=False):
                        yield joined(here, base), self._sum(fd, base)
                else:
                    found.close()
                    os.close(fd)
                    levels.pop()
        finally:
            for fd, _, found in levels:
                found.close()
                os.close(fd)

    def _level(self, fd: int, path: bytes) -> tuple[int, bytes, os._ScandirIterator[str]]:
        try:
            return fd, path, os.scandir(fd)
        except BaseException:
            os.close(fd)
            raise

    def _sum(self, above: int, base: bytes) -> str:
        kept = self._kept.get(os.stat(base, dir_fd=above, follow_symlinks=False).st_ino)
        if kept is not None:
            return kept.hex()
        fd = os.open(base, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=above)
        with open(fd, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ImageError("its files", "somebody else writes to them")
            sha256 = hashlib.sha256()
            while piece := file.read(PIECE):
                sha256.update(piece)
        return sha256.hexdigest()
