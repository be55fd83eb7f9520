"""The SHA-256 of files that were just written: `Sums`."""

from __future__ import annotations

KEPT = 50_000  # digests in memory, 5 MB


class Sums:
    """Digests by the inode's number, as names come and go; only of the first files, others have to be read again."""

    def __init__(self) -> None:
        self._kept: dict[int, bytes] = {}

    def note(self, inode: int, digest: bytes) -> None:
        """Keep the digest of a file that was just written."""
        if len(self._kept) < KEPT:
            self._kept[inode] = digest
        else:
            self._kept.pop(inode, None)  # of a file that is gone

    def kept(self, inode: int) -> str | None:
        """The digest of this file in hex, where it is kept."""
        found = self._kept.get(inode)
        return None if found is None else found.hex()
