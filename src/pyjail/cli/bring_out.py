"""``pyjail run --collect PATTERN --out DIR``: what came back from /box becomes files of the host."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def directory(path: str) -> int:
    """An fd of the directory, which is made if it is missing. Before the run, so that it fails early."""
    os.makedirs(path, exist_ok=True)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def write(top: int, files: Mapping[str, bytes]) -> dict[str, str]:
    """Write them below ``top``; {path: why not} of those that could not be.

    The names are the program's choice: nothing that is there is replaced, no symlink followed.
    """
    lost = {}
    for path, data in files.items():
        try:
            _write(top, path, data)
        except FileExistsError:
            lost[path] = "it is there already, and is not replaced"
        except OSError as e:
            lost[path] = e.strerror or str(e)
    return lost


def _write(top: int, path: str, data: bytes) -> None:
    *parents, name = path.split("/")
    here = os.dup(top)
    try:
        for parent in parents:
            with contextlib.suppress(FileExistsError):
                os.mkdir(parent, 0o755, dir_fd=here)
            deeper = os.open(parent, _DIRECTORY, dir_fd=here)
            os.close(here)
            here = deeper
        with os.fdopen(os.open(name, _NEW, 0o644, dir_fd=here), "wb") as file:
            file.write(data)
    finally:
        os.close(here)
