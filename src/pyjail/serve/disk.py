"""What is asked of the disk, and what is said when it is full."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from pyjail.serve.problem import Problem


def full() -> Problem:
    """What is said when the disk is."""
    return Problem(507, "disk-full", "the service has no room for more files", retry=60)


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Within, a full disk raises that `Problem`."""
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full() from None
        raise


def entries(directory: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    """All that lies there."""
    with os.scandir(directory) as found:
        return list(found)


def sync(directory: Path) -> None:
    """What it lists is on the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def too_long(most: int) -> Problem:
    """413."""
    return Problem(413, "file-size", f"a file has at most {most} bytes here")
