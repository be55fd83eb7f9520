"""Files of this machine that the configuration lets clients name: `read`."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Sequence

from pyjail.serve.problem import Problem

_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a named pipe is not waited for


def read(path: str, directories: Sequence[str], most: int) -> bytes:
    """What a regular file below one of these directories holds. No symlink on the way from there is followed: what
    lies there may be another's. Raises `Problem` 400 for one that is elsewhere, is none, or has more than ``most``."""
    parts = _below(path, directories)
    if parts is None:
        raise Problem(400, "field", "it lies in none of the directories that are offered")
    try:
        return _read(*parts, most)
    except OSError as e:
        raise Problem(400, "field", os.strerror(e.errno or 0)) from None


def _below(path: str, directories: Sequence[str]) -> tuple[str, list[str]] | None:
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        return None
    clean = posixpath.normpath("/" + path.lstrip("/"))
    for directory in directories:
        if clean.startswith(f"{directory.rstrip('/')}/"):
            return directory, clean[len(directory.rstrip("/")) + 1 :].split("/")
    return None


def _read(directory: str, parts: list[str], most: int) -> bytes:
    at = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _STEP | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = inner
        fd = os.open(parts[-1], _FILE, dir_fd=at)
    finally:
        os.close(at)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Problem(400, "field", "it is no regular file")
        data = bytearray()
        while len(data) <= most and (piece := os.read(fd, min(1 << 20, most + 1 - len(data)))):
            data += piece
    finally:
        os.close(fd)
    if len(data) > most:
        raise Problem(400, "field", f"it has more than {most} bytes")
    return bytes(data)
