"""The directory of one kernel on the host: its clients' sockets, and below it what its jail sees, read-only."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyjail.integrations._kernel.relay import CHANNELS

NAME = "pyjail-kernel-"
INSIDE = "/run/jupyter"  # where the jail sees its part
KERNEL = "/tmp/.kernel"  # inside: the kernel binds KERNEL-1 and so on
MOST = 107  # bytes of a socket's path, without the NUL
RANDOM = 8  # characters that tempfile.mkdtemp adds to a name
_CODE = ("inside.py", "pump.py", "startup.py")


class Place:
    """A new directory, which only this user can look into. Those that dead processes left are removed first.

    Attributes:
        root: the directory. clients: prefix of the sockets for clients, short enough for their path. inside: what the
        jail sees: the code that runs there, its connection file, the socket that it connects to.
    """

    def __init__(self) -> None:
        above = _above()
        _sweep(above)
        self._lock = -1
        while self._lock < 0:
            self.root = Path(tempfile.mkdtemp(prefix=NAME, dir=above))
            self._lock = _locked(self.root, fcntl.LOCK_EX)
        self.clients = f"{self.root}/s"
        self.inside = self.root / "inside"
        self.inside.mkdir()
        self.inside.chmod(0o755)  # to be read by whoever the jail's user is outside; nobody else gets as far
        for name in _CODE:
            self._put(name, Path(__file__).with_name(name).read_text())

    def tell(self, session: Mapping[str, Any]) -> str:
        """Write the connection file for the inside, with this key and so on; its path there."""
        ports = {f"{channel}_port": number for number, channel in enumerate(CHANNELS, 1)}
        self._put("connection.json", json.dumps({**session, "transport": "ipc", "ip": KERNEL, **ports}))
        return f"{INSIDE}/connection.json"

    def _put(self, name: str, text: str) -> None:
        path = self.inside / name
        path.write_text(text)
        path.chmod(0o644)

    def stop(self) -> None:
        """Remove it, with all that is in it. Twice is fine."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _above() -> str:
    """A directory for it whose path is not too long."""
    tried = [path for path in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp") if path]
    for path in tried:
        longest = f"{os.path.abspath(path)}/{NAME}{'x' * RANDOM}/s-{len(CHANNELS)}"
        if os.access(path, os.W_OK | os.X_OK) and len(os.fsencode(longest)) <= MOST:
            return os.path.abspath(path)
    raise RuntimeError(
        f"no directory for a kernel's sockets, whose paths may have {MOST} bytes: {', '.join(tried)}; "
        "set XDG_RUNTIME_DIR or TMPDIR to one that is writable and short"
    )


def _locked(path: str | Path, how: int) -> int:
    """An fd that holds this directory's lock until it is closed, whichever pid namespace others look from; -1 when
    somebody else holds it, or has removed the directory."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(fd, how)
        if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return -1


def _sweep(above: str) -> None:
    """Remove those of ours that nobody holds any more: their owner was killed."""
    with os.scandir(above) as entries:
        found = [e.path for e in entries if e.name.startswith(NAME) and e.is_dir(follow_symlinks=False)]
    for path in found:
        with contextlib.suppress(OSError):  # somebody else's, or gone meanwhile
            if os.stat(path, follow_symlinks=False).st_uid != os.geteuid():
                continue
            fd = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if fd >= 0:
                try:
                    shutil.rmtree(path)
                finally:
                    os.close(fd)
