"""`ArtefactCache`: what builds made, on disk, by key. One file for an entry, written once, verified when it is read."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyjail._base import units
from pyjail._base.errors import SpecError
from pyjail._base.fds import Fd, fill, not_ours
from pyjail._session.snapshot import Content

_HEAD = b"pyjail-artefact-2 "
_ABANDONED_S = 3600.0  # a temporary file that is older belongs to a process that is gone


@dataclass(frozen=True)
class Entry:
    """What one build made: path -> (mode, content), and its result as a dict."""

    outputs: Mapping[str, tuple[int, Content]]
    result: Mapping[str, Any]


class ArtefactCache:
    """A directory of build artefacts for `Session.build`, shared by any number of processes and threads.

    Args:
        directory: made if it is not there. It must be ours, and nobody else may write there: who can, decides what
            later builds make.
        limit: bytes (or "1G") that all entries may take; above it those go first that were not used for longest.
            Default 1 GiB; None: no limit.

    Attributes:
        hits, misses: lookups of this object. altered: entries that were not what had been written; each was a miss, was
            removed, and is replaced by the build that follows.

    Raises SpecError for a directory that others may write to, OSError when it cannot be made.

    >>> import pyjail, tempfile
    >>> with tempfile.TemporaryDirectory() as d, pyjail.Session() as s:
    ...     cache = pyjail.ArtefactCache(d, limit="100M")
    ...     first = s.build(["sh", "-c", "echo made > out"], ("out",), cache=cache)
    ...     s.clear()
    ...     again = s.build(["sh", "-c", "echo made > out"], ("out",), cache=cache)
    ...     (first.cached, again.cached, s.read("out"))
    (False, True, b'made\\n')
    """

    def __init__(self, directory: str | os.PathLike[str], *, limit: int | str | None = 1 << 30) -> None:
        self.limit = units.size("limit", limit)
        self.directory = os.path.abspath(os.fspath(directory))
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        st = os.stat(self.directory)
        if st.st_uid != os.geteuid() or st.st_mode & 0o022:
            raise SpecError(
                "directory", self.directory, "it must be ours, and nobody else may write there (chmod go-w)"
            )
        self.hits = self.misses = self.altered = 0

    def __repr__(self) -> str:
        limit = units.show_size(self.limit)
        return f"<ArtefactCache {self.directory!r} of {limit}, {self.hits} hits, {self.misses} misses>"

    def get(self, key: str) -> Entry | None:
        """The entry of this key, which is now the one used last; None when there is none that is whole."""
        path = self._path(key)
        try:
            with Fd(os.open, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC) as fd:
                found = _unpack(_content(fd.number)) if stat.S_ISREG(os.fstat(fd.number).st_mode) else None
        except FileNotFoundError:
            self.misses += 1
            return None
        except OSError as e:
            not_ours(e)
            found = None
        if found is None:
            self.altered += 1
            self.misses += 1
            with contextlib.suppress(OSError):
                os.unlink(path)
            return None
        with contextlib.suppress(OSError):  # evicted meanwhile: we have it
            os.utime(path)
        self.hits += 1
        return found

    def put(self, key: str, entry: Entry) -> bool:
        """Keep an entry; False when it alone is above the limit. Who reads meanwhile finds the old one or the new."""
        raw = _pack(entry)
        if self.limit is not None and len(raw) > self.limit:
            return False
        path = self._path(key)
        with Fd() as fd:
            number, temporary = tempfile.mkstemp(prefix=".new-", dir=self.directory)
            fd.adopt(number)
            try:
                fill(fd, raw, seal=False)
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        self._evict()
        return True

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return sum(size for _, size, _ in self._entries())

    def __len__(self) -> int:
        return sum(1 for _ in self._entries())

    def clear(self) -> None:
        """Remove every entry."""
        for _, _, path in list(self._entries()):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _path(self, key: str) -> str:
        if len(key) != 64 or set(key) - set("0123456789abcdef"):
            raise SpecError("key", key, "64 hexadecimal digits are needed")
        return f"{self.directory}/{key}"

    def _entries(self) -> Iterator[tuple[int, int, str]]:
        """(time of the last use in ns, bytes, path)."""
        with os.scandir(self.directory) as found:
            for entry in found:
                if len(entry.name) == 64:
                    with contextlib.suppress(FileNotFoundError):
                        st = entry.stat(follow_symlinks=False)
                        yield st.st_mtime_ns, st.st_size, entry.path

    def _evict(self) -> None:
        """One process at a time: two that saw the same surplus would remove it twice."""
        fd = os.open(f"{self.directory}/.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._remove_abandoned()
            entries = sorted(self._entries())
            surplus = 0 if self.limit is None else sum(size for _, size, _ in entries) - self.limit
            for _, size, path in entries:
                if surplus <= 0:
                    break
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                surplus -= size
        finally:
            os.close(fd)

    def _remove_abandoned(self) -> None:
        with os.scandir(self.directory) as found:
            for entry in found:
                if entry.name.startswith(".new-"):
                    with contextlib.suppress(FileNotFoundError):
                        if time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_S:
                            os.unlink(entry.path)


def _content(fd: int) -> bytes:
    with open(fd, "rb", buffering=0, closefd=False) as f:
        return f.readall()


def _pack(entry: Entry) -> bytes:
    """The digest of all that follows; the index, a line; the contents without their holes."""
    index = {
        "outputs": [
            [path, mode, content.size, [[at, len(data)] for at, data in content.pieces]]
            for path, (mode, content) in entry.outputs.items()
        ],
        "result": dict(entry.result),
    }
    pieces = [data for _, content in entry.outputs.values() for _, data in content.pieces]
    body = b"".join([json.dumps(index).encode(), b"\n", *pieces])
    return _HEAD + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _unpack(raw: bytes) -> Entry | None:
    """None for what `_pack` did not make."""
    head, _, body = raw.partition(b"\n")
    if head != _HEAD + hashlib.sha256(body).hexdigest().encode():
        return None
    line, _, rest = body.partition(b"\n")
    index = json.loads(line)
    outputs, at = {}, 0
    for path, mode, size, spans in index["outputs"]:
        pieces = []
        for offset, length in spans:
            pieces.append((offset, rest[at : at + length]))
            at += length
        outputs[path] = (mode, Content(size, tuple(pieces)))
    return Entry(outputs, index["result"])
