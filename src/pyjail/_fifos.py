"""The directory of an interaction's named pipes: it tells whose it is, and so goes even when its owner was killed."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile

from pyjail._cgroup import is_dead, owner_name
from pyjail._fds import Fd

PREFIX = "pyjail-pipes-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Fifos:
    """Ours alone; the jails have the pipes as mounts, so the paths can go when all have started."""

    def __init__(self) -> None:
        self.directory: str | None = None
        self.paths: list[str] = []

    def make(self, name: str) -> str:
        """The path of a new one. Each is known here before it is made: an interrupt in between must not lose it."""
        if self.directory is None:
            clean_stale()
            own = f"{owner_name(os.getpid(), 'pipes-')}-{os.urandom(8).hex()}"
            self.directory = os.path.join(tempfile.gettempdir(), own)
            os.mkdir(self.directory, 0o700)
        path = os.path.join(self.directory, name)
        self.paths.append(path)
        os.mkfifo(path, 0o600)
        os.chmod(path, 0o666)  # noqa: S103  # the program's outside id is another one
        return path

    def remove(self) -> None:
        """Without opening anything: this process may be out of fds."""
        if self.directory is not None:
            with contextlib.suppress(OSError):
                for path in self.paths:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
                os.rmdir(self.directory)
            self.directory = None


def clean_stale() -> None:
    """Remove what owners left that were killed. The place is anybody's: only what is ours by the inode is touched."""
    place = tempfile.gettempdir()
    with contextlib.suppress(OSError):
        for name in os.listdir(place):
            if name.startswith(PREFIX) and is_dead(name):
                with contextlib.suppress(OSError):
                    _remove(os.path.join(place, name))


def _remove(directory: str) -> None:
    with Fd(os.open, directory, _DIRECTORY) as fd:
        if os.fstat(fd.number).st_uid != os.geteuid():
            return
        for name in os.listdir(fd.number):
            if stat.S_ISFIFO(os.stat(name, dir_fd=fd.number, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=fd.number)
    os.rmdir(directory)
