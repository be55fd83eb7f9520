"""The SHA-256 of files that were just written: `Sums`."""

from __future__ import annotations

from pyjail._images.errors import ImageError

KEPT = 50_000  # digests in memory, 10 MB


class Sums:
    """Digests by the inode's number, as names come and go; only of the first files, others have to be read again."""

    def __init__(self) -> None:
        self._kept: dict[int, bytes] = {}

    def note(self, inode: int, digest: bytes, mode: int) -> None:
        """Keep the digest of a file that was just written; one that its owner may not read is always kept."""
        if len(self._kept) < KEPT:
            self._kept[inode] = digest
        elif mode & 0o400:
            self._kept.pop(inode, None)  # of a file that is gone
        elif len(self._kept) < 2 * KEPT:
            self._kept[inode] = digest
        else:
            raise ImageError("its files", f"more than {KEPT:,} that their owner may not read")

    def kept(self, inode: int) -> str | None:
        """The digest of this file in hex, where it is kept."""
        found = self._kept.get(inode)
        return None if found is None else found.hex()
