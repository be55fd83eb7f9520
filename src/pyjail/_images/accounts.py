"""A name for uid 1000 in an image that has none for it, so that whoami and getpass work in a jail: `named`."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LINES = {b"passwd": b"box:x:1000:1000:box:/box:/bin/sh\n", b"group": b"box:x:1000:\n"}
MOST = 1 << 20  # bytes of such a file
OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def named(etc: int) -> Iterator[tuple[int, bytes]]:
    """(fd, content) of passwd and group in the directory fd ``etc``, each made anew with an entry more.

    Only of those that are ordinary files below 1 MiB with no entry of that name or number. The fd is closed afterwards.
    """
    for file, line in LINES.items():
        try:
            fd = os.open(file, OLD, dir_fd=etc)
        except OSError:  # not there, a symlink, not readable
            continue
        try:
            found = os.fstat(fd)
            text = _read(fd) if stat.S_ISREG(found.st_mode) and found.st_size < MOST else None
        finally:
            os.close(fd)
        if text is None or _known(text, line):
            continue
        text += (b"" if not text or text.endswith(b"\n") else b"\n") + line
        os.unlink(file, dir_fd=etc)  # and anew: it may have other names, in other images
        fd = os.open(file, NEW, 0o600, dir_fd=etc)
        try:
            with open(fd, "wb", buffering=0, closefd=False) as new:
                new.write(text)
            os.fchmod(fd, stat.S_IMODE(found.st_mode))
            os.utime(fd, ns=(found.st_mtime_ns, found.st_mtime_ns))
            yield fd, text
        finally:
            os.close(fd)


def _read(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as old:
        return old.read(MOST)


def _known(text: bytes, line: bytes) -> bool:
    name, _, number = line.strip().split(b":")[:3]
    return any(fields[0] == name or fields[2:3] == [number] for fields in map(_fields, text.splitlines()))


def _fields(line: bytes) -> list[bytes]:
    return line.split(b":")[:3]
