"""``pyjail run --collect PATTERN --out DIR``: what came back from /box becomes files of the host."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from pyjail._errors import SpecError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def directory(path: str) -> int:
    """An fd of the directory, which is made if it is missing. Before the run, so that it fails early."""
    os.makedirs(path, exist_ok=True)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def write(top: int, files: Mapping[str, bytes]) -> None:
    """Write them below ``top``. The names are the program's choice: nothing there is replaced or followed.

    Raises SpecError for what is there already, OSError when a file cannot be written.
    """
    for path, data in files.items():
        *parents, name = path.split("/")
        here = os.dup(top)
        try:
            for parent in parents:
                deeper = _directory_in(here, parent, path)
                os.close(here)
                here = deeper
            try:
                fd = os.open(name, _NEW, 0o644, dir_fd=here)
            except FileExistsError:
                raise SpecError("--out", path, "is there already, and is not replaced") from None
            with os.fdopen(fd, "wb") as file:
                file.write(data)
        finally:
            os.close(here)


def _directory_in(here: int, name: str, path: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=here)
    try:
        return os.open(name, _DIRECTORY, dir_fd=here)
    except OSError as e:
        raise SpecError("--out", path, f"{name!r} there is no directory: {e.strerror}") from None
