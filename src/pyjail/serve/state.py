"""The directory of what a service keeps, which one service alone uses: `State`."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from pyjail.serve.problem import Problem

_PATIENCE = 5.0  # seconds in which one that was killed has let go of it


class State:
    """``directory`` is there and ours until `close`; "" stands for one that goes with it."""

    def __init__(self, directory: str) -> None:
        self._temporary = not directory
        self.directory = Path(directory or tempfile.mkdtemp(prefix="pyjail-serve-"))
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    os.close(self._fd)
                    raise Problem(503, "state", "another service uses this state directory") from None
                time.sleep(0.05)

    def close(self) -> None:
        """Another service may have it."""
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._fd)
