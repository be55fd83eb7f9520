"""A file on its way into a store: `Upload`."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pyjail.serve.disk import too_long, writing
from pyjail.serve.problem import Problem

CHUNK = 64 << 10  # bytes that are written at once


class Into(Protocol):
    """What it goes into: a `FileStore`."""

    incoming: Path

    def room(self) -> None:
        """Raises `Problem` 507 where the disk is full."""

    def take(self, owner: str, digest: str, size: int, whole: Path) -> None:
        """Keep what was written there. Raises `Problem` 507."""


class Upload:
    """A file on its way into a store. What is not kept when the block ends is gone."""

    def __init__(self, store: Into, owner: str, most: int) -> None:
        self._store, self._owner, self._most, self.size = store, owner, most, 0
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()  # whoever gives up closes it while a thread still writes
        self._name = store.incoming / secrets.token_hex(16)
        self._fd = os.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.fchmod(self._fd, 0o644)  # as it is in jails, whatever our umask

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """What was not kept is gone."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)
                self._name.unlink(missing_ok=True)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """More of it. Raises `Problem` 413 when it is longer than a file may be, 507 when the disk is full."""
        self.size += len(data)
        if self.size > self._most:
            raise too_long(self._most)
        with self._lock, writing():
            for part in _parts(memoryview(data)):
                self._store.room()
                self._hash.update(part)
                while part:
                    part = part[os.write(self._fd, part) :]

    def path(self, mode: int) -> Path:
        """Where it lies until `close`, with that mode; for who needs it once, and keeps nothing."""
        os.fchmod(self._fd, mode | 0o400)
        return self._name

    def keep(self, expected: str = "") -> str:
        """Its digest, once it is on the disk and its owner's. Raises `Problem` 422 when it is not the ``expected``."""
        digest = self._hash.hexdigest()
        if expected and digest != expected:
            raise Problem(422, "digest", f"what came has the SHA-256 {digest}", field="sha256")
        with self._lock, writing():
            os.fsync(self._fd)
            self._store.take(self._owner, digest, self.size, self._name)
        return digest


def _parts(data: memoryview) -> Iterator[memoryview]:
    return (data[at : at + CHUNK] for at in range(0, len(data), CHUNK))
