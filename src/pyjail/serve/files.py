"""Files by their SHA-256, each of one owner or more: `FileStore`. No name that a client chose reaches the disk.

What is on the disk is all there is to know: ``files/ab/cdef...`` holds a content, ``owners/OWNER/abcdef...`` is an
empty file that says whose it is and, by its time, when it was used last; ``incoming`` holds what is not whole yet.
A content is there before its owner's mark and goes after it, so a death at any step leaves a file that is whole,
or one that the next start removes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import BinaryIO

from pyjail.serve.config import Files
from pyjail.serve.disk import entries, full, sync
from pyjail.serve.problem import Problem
from pyjail.serve.upload import Upload

_DIGEST = re.compile(r"[0-9a-f]{64}")
_OWNER = re.compile(r"[0-9a-f]{32}")
_INODES = 1000  # that stay free, where they are counted
_TOUCH = 60.0  # seconds in which the disk is told once that a file was used


def is_digest(text: str) -> bool:
    """Whether this is the SHA-256 of something, in small letters."""
    return _DIGEST.fullmatch(text) is not None


class _Kept:
    __slots__ = ("marked", "size", "used")

    def __init__(self, size: int, used: float) -> None:
        self.size, self.used, self.marked = size, used, used


class FileStore:
    """What ``directory`` keeps, within ``limits``. Its methods block, and may be called by any thread."""

    def __init__(self, directory: str | os.PathLike[str], limits: Files, now: Callable[[], float] = time.time) -> None:
        self.limits, self._now = limits, now
        root = Path(directory)
        self._files, self._owners, self.incoming = (root / name for name in ("files", "owners", "incoming"))
        for made in (self._files, self._owners, self.incoming):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._of: dict[str, dict[str, _Kept]] = {}  # of each owner, by digest
        self._sums: Counter[str] = Counter()  # bytes of each owner
        self._shared: Counter[str] = Counter()  # owners of each digest
        self._held: Counter[str] = Counter()  # runs that use it
        self._read()

    def upload(self, owner: str, most: int | None = None) -> Upload:
        """Something new, to be written, of ``most`` bytes (default: what a file may have). Raises `Problem` 507 where
        the disk is too full for more."""
        self.room()
        return Upload(self, owner, self.limits.file if most is None else most)

    def put(self, owner: str, data: bytes) -> str:
        """The digest of ``data``, which is kept from now on. Raises `Problem` as an upload does."""
        with self.upload(owner) as upload:
            upload.write(data)
            return upload.keep()

    def size(self, owner: str, digest: str) -> int | None:
        """Its bytes; None: this owner has no such file."""
        with self._lock:
            kept = self._of.get(_folder(owner), {}).get(digest)
            return None if kept is None else kept.size

    def open(self, owner: str, digest: str) -> BinaryIO | None:
        """It, to be read; None: this owner has no such file."""
        with self._lock:
            if not self._use(_folder(owner), digest):
                return None
            return open(self.path(digest), "rb", buffering=0)

    def get(self, owner: str, digest: str) -> bytes | None:
        """Its content; None: this owner has no such file."""
        found = self.open(owner, digest)
        if found is None:
            return None
        with found:
            return found.read()

    def hold(self, owner: str, wanted: Mapping[str, str]) -> Held:
        """Files {name: digest} that stay until the block ends, whatever expires: {name: path}. Raises `Problem` 422
        that says ``files.NAME`` where one is missing."""
        folder = _folder(owner)
        with self._lock:
            for name, digest in wanted.items():
                if digest not in self._of.get(folder, {}):
                    why, hint = f"no file has the SHA-256 {digest}", "PUT /v1/files/{sha256} first"
                    raise Problem(422, "file", why, field=f"files.{name}", hint=hint)
            for digest in wanted.values():
                self._use(folder, digest)
            self._held.update(wanted.values())
        return Held(self, wanted)

    def drop(self, owner: str, digest: str) -> bool:
        """Whether there was one, which this owner has no more."""
        with self._lock:
            return self._drop(_folder(owner), digest)

    def use(self, owner: str, digests: Collection[str]) -> None:
        """Those that are this owner's have been used now."""
        with self._lock:
            for digest in digests:
                self._use(_folder(owner), digest)

    def late(self) -> list[tuple[str, str]]:
        """What `expire` would drop: whose folder, and which."""
        before = self._now() - self.limits.keep
        with self._lock:
            return [(folder, d) for folder, mine in self._of.items() for d, kept in mine.items() if kept.used < before]

    def expire(self) -> int:
        """How many files nobody used for too long; they are gone."""
        before, found = self._now() - self.limits.keep, 0
        for folder, digest in self.late():
            with self._lock:  # for each by itself: others wait for it
                kept = self._of.get(folder, {}).get(digest)
                if kept is not None and kept.used < before and not self._held[digest]:
                    found += self._drop(folder, digest)
        return found

    def total(self) -> int:
        """Bytes of all files, counted once for each owner."""
        with self._lock:
            return self._sums.total()

    def room(self) -> None:
        """Raises `Problem` 507 where less of the disk is free than is to stay so."""
        there = os.statvfs(self.incoming)
        if there.f_bavail * there.f_frsize < self.limits.floor or (there.f_files and there.f_favail < _INODES):
            raise full()

    def take(self, owner: str, digest: str, size: int, whole: Path) -> None:
        """Keep what was written to ``whole``. Raises `Problem` 507 where this owner has enough already."""
        folder, path = _folder(owner), self.path(digest)
        with self._lock:
            mine = self._of.setdefault(folder, {})
            if self._use(folder, digest):
                return
            if len(mine) >= self.limits.count or self._sums[folder] + size > self.limits.total:
                most = f"{self.limits.count} files and {self.limits.total} bytes"
                raise Problem(507, "quota", f"at most {most} are kept for one tenant")
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.link(whole, path)
            mark = self._owners / folder / digest
            mark.parent.mkdir(mode=0o700, exist_ok=True)
            mark.touch()
            kept = _Kept(size, self._now())
            os.utime(mark, (kept.used, kept.used))
            self._add(folder, digest, kept)
        for directory in (path.parent, mark.parent):
            with contextlib.suppress(FileNotFoundError):  # it is dropped again
                sync(directory)

    def release(self, digests: Collection[str]) -> None:
        """Of a block of `hold`, which has ended."""
        with self._lock:
            self._held.subtract(digests)
            for digest in set(digests):
                if self._held[digest] <= 0:
                    del self._held[digest]
                    if not self._shared[digest]:
                        self.path(digest).unlink(missing_ok=True)

    def path(self, digest: str) -> Path:
        """Where it lies; for who holds it."""
        return self._files / digest[:2] / digest[2:]

    def _use(self, folder: str, digest: str) -> bool:
        kept = self._of.get(folder, {}).get(digest)
        if kept is None:
            return False
        kept.used = self._now()
        if kept.used - kept.marked >= _TOUCH:
            kept.marked = kept.used
            os.utime(self._owners / folder / digest, (kept.used, kept.used))
        return True

    def _add(self, folder: str, digest: str, kept: _Kept) -> None:
        self._of.setdefault(folder, {})[digest] = kept
        self._sums[folder] += kept.size
        self._shared[digest] += 1

    def _drop(self, folder: str, digest: str) -> bool:
        mine = self._of.get(folder, {})
        kept = mine.pop(digest, None)
        if kept is None:
            return False
        self._sums[folder] -= kept.size
        self._shared[digest] -= 1
        (self._owners / folder / digest).unlink(missing_ok=True)
        if not mine:
            del self._of[folder], self._sums[folder]
            with contextlib.suppress(OSError):
                (self._owners / folder).rmdir()
        if not self._shared[digest]:
            del self._shared[digest]
            if not self._held[digest]:
                self.path(digest).unlink(missing_ok=True)
        return True

    def _read(self) -> None:
        """What the disk says; what is nobody's, or not whole, goes."""
        for entry in entries(self.incoming):
            os.unlink(entry.path)
        rests = ((ab.name + rest.name, rest) for ab in entries(self._files) for rest in entries(ab.path))
        sizes = {digest: rest.stat(follow_symlinks=False).st_size for digest, rest in rests}
        for owner in entries(self._owners):
            for mark in entries(owner.path):
                if _OWNER.fullmatch(owner.name) and mark.name in sizes:
                    self._add(owner.name, mark.name, _Kept(sizes[mark.name], mark.stat().st_mtime))
                else:
                    os.unlink(mark.path)
        for digest in sizes.keys() - self._shared.keys():
            self.path(digest).unlink(missing_ok=True)


class Held:
    """Files of a store that stay while the block lasts, which gives {name: path}."""

    def __init__(self, store: FileStore, wanted: Mapping[str, str]) -> None:
        self._store, self._wanted = store, dict(wanted)

    def __enter__(self) -> dict[str, Path]:
        return {name: self._store.path(digest) for name, digest in self._wanted.items()}

    def __exit__(self, *_: object) -> None:
        wanted, self._wanted = self._wanted, {}
        self._store.release(wanted.values())


def _folder(owner: str) -> str:
    return hashlib.sha256(owner.encode("utf-8", "surrogateescape")).hexdigest()[:32]
