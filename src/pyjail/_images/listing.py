"""What a tree of the store consists of: its lines, written when it is made, and compared when it is verified.

A line is a kind (d, f, l), the mode in octal, the time in ns, the size, the SHA-256 of a file, and the path; a
symlink's target follows. Lines and targets end with NUL, because names are bytes. Nothing is followed: each directory
is opened by the fd of the one above.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from pyjail._base.fds import Fd

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = _FLAGS | os.O_DIRECTORY
_PIECE = 1 << 20

Sum = Callable[[os.stat_result], str | None]


class Found(NamedTuple):
    """An entry of a tree: ``directory`` is the fd that ``name`` is in, for as long as the walk is there."""

    path: bytes
    directory: int
    name: bytes
    status: os.stat_result


class Line(NamedTuple):
    """What is known of an entry. ``sum`` is "-" where it is no file."""

    kind: str
    mode: int
    mtime_ns: int
    size: int
    sum: str
    path: bytes
    target: bytes = b""

    def written(self) -> bytes:
        """As it stands in a file of them."""
        head = f"{self.kind} {self.mode:o} {self.mtime_ns} {self.size} {self.sum} ".encode()
        return head + self.path + b"\0" + (self.target + b"\0" if self.kind == "l" else b"")


def at(directory: int, name: str | bytes, flags: int) -> Fd:
    """What has this name in an open directory, open."""
    return Fd(functools.partial(os.open, dir_fd=directory), name, flags)


def walk(root: int) -> Iterator[Found]:
    """All entries below the directory ``root`` (an fd), each directory before what is in it, names sorted."""
    top = at(root, ".", DIRECTORY)
    todo = [(b"", top, iter(_names(top.number)))]
    while todo:
        prefix, directory, names = todo[-1]
        name = next(names, None)
        if name is None:
            todo.pop()
            directory.close()
            continue
        status = os.stat(name, dir_fd=directory.number, follow_symlinks=False)
        yield Found(prefix + name, directory.number, name, status)
        if stat.S_ISDIR(status.st_mode):
            inner = at(directory.number, name, DIRECTORY)
            todo.append((prefix + name + b"/", inner, iter(_names(inner.number))))


def _names(directory: int) -> list[bytes]:
    return sorted(os.fsencode(name) for name in os.listdir(directory))


def line(found: Found, known: Sum | None = None) -> Line:
    """Of an entry; a file is read, unless ``known`` says its SHA-256."""
    mode = found.status.st_mode
    kind = "d" if stat.S_ISDIR(mode) else "l" if stat.S_ISLNK(mode) else "f" if stat.S_ISREG(mode) else "?"
    target = os.fsencode(os.readlink(found.name, dir_fd=found.directory)) if kind == "l" else b""
    total = "-"
    if kind == "f":
        total = (known(found.status) if known else None) or _sum(found)
    size = found.status.st_size if kind == "f" else 0
    return Line(kind, stat.S_IMODE(mode), found.status.st_mtime_ns, size, total, found.path, target)


def _sum(found: Found) -> str:
    total = hashlib.sha256()
    with at(found.directory, found.name, _FLAGS | os.O_NONBLOCK) as file:
        while piece := os.read(file.number, _PIECE):
            total.update(piece)
    return total.hexdigest()


def write(root: int, file: IO[bytes], known: Sum | None = None) -> str:
    """Write the lines of the tree below ``root``; the SHA-256 of all of them."""
    whole = hashlib.sha256()
    for found in walk(root):
        text = line(found, known).written()
        whole.update(text)
        file.write(text)
    return whole.hexdigest()


def read(data: bytes) -> Iterator[Line]:
    """The lines of such a file."""
    parts = iter(data.split(b"\0"))
    for text in parts:
        if text:
            kind, mode, mtime, size, total, path = text.split(b" ", 5)
            target = next(parts) if kind == b"l" else b""
            yield Line(kind.decode(), int(mode, 8), int(mtime), int(size), total.decode(), path, target)


def differences(root: int, data: bytes) -> Iterator[str]:
    """What is another than the lines ``data`` say of the tree below ``root``, one text each: "'etc/x': ..."."""
    rest = {known.path: known for known in read(data)}
    for found in walk(root):
        was = rest.pop(found.path, None)
        if was is None:
            yield f"{_shown(found.path)}: it is not of the image"
            continue
        now = line(found)
        names = [name for name in Line._fields if getattr(was, name) != getattr(now, name)]
        if names:
            yield f"{_shown(found.path)}: another {', '.join(_WORDS[name] for name in names)}"
    yield from (f"{_shown(path)}: it is missing" for path in rest)


_WORDS = {
    "kind": "kind of file", "mode": "mode", "mtime_ns": "time", "size": "size", "sum": "content", "target": "target",
}  # fmt: skip


def _shown(path: bytes) -> str:
    return ascii(os.fsdecode(path))
