"""The directory of what a service keeps, which one service alone uses: `State`."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from pyjail.serve.disk import entries
from pyjail.serve.problem import Problem

_PREFIX = "pyjail-serve-"
_YOUNG = 60.0  # seconds in which the lock of a new one may not be there yet
_PATIENCE = 5.0  # seconds in which one that was killed has let go of it


class State:
    """``directory`` is there and ours until `close`; "" stands for one that goes with it, and those of services that
    were killed go, too."""

    def __init__(self, directory: str) -> None:
        self._temporary = not directory
        if self._temporary:
            _sweep()
        self.directory = Path(directory or tempfile.mkdtemp(prefix=_PREFIX))
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        end = time.monotonic() + _PATIENCE
        while (fd := _locked(self.directory)) is None:
            if time.monotonic() > end:
                raise Problem(503, "state", "another service uses this state directory")
            time.sleep(0.05)
        self._fd = fd

    def close(self) -> None:
        """Another service may have it."""
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._fd)


def _locked(directory: Path) -> int | None:
    """The fd that locks it; None: another process has it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(directory / "lock", flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _sweep() -> None:
    for found in entries(tempfile.gettempdir()):
        with suppress(OSError):
            seen = found.stat(follow_symlinks=False)
            ours = found.name.startswith(_PREFIX) and stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid()
            if not ours or time.time() - seen.st_mtime < _YOUNG:
                continue
            fd = _locked(Path(found.path))
            if fd is not None:
                shutil.rmtree(found.path, ignore_errors=True)
                os.close(fd)
