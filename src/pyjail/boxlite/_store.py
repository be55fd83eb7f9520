"""Pythons for boxes: each has an environment of its own, read-only inside; packages are put into it from outside.

They lie in one temporary directory of the host, which goes with the last of them, and when this process ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
import threading

INSIDE = "/python"  # where a box sees its environment
VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
SEEN = 0o755  # the program of a jail has other ids
_lock = threading.Lock()
_made: list[tuple[int, str]] = []  # (pid, directory)


def real() -> str:
    """The running interpreter itself, which every jail of this host's own files sees."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def environment() -> str:
    """A new directory that is an environment of the running Python, without packages; `drop` removes it."""
    with _lock:
        path = tempfile.mkdtemp(prefix="python-", dir=_directory())
    os.makedirs(site(path))
    os.mkdir(f"{path}/bin")
    for name in ("python", "python3", VERSION):
        os.symlink(real(), f"{path}/bin/{name}")
    with open(f"{path}/pyvenv.cfg", "w") as f:
        f.write(f"home = {os.path.dirname(real())}\ninclude-system-site-packages = false\n")
    os.chmod(path, SEEN)
    return path


def site(path: str) -> str:
    """Where the packages of an environment lie."""
    return f"{path}/lib/{VERSION}/site-packages"


def drop(path: str) -> None:
    """Remove an environment, and with the last one the directory that they lie in."""
    shutil.rmtree(path, ignore_errors=True)
    with _lock, contextlib.suppress(OSError):  # others are there
        os.rmdir(os.path.dirname(path))


def _directory() -> str:
    """That of this process; a forked child gets its own."""
    if not _made or _made[-1][0] != os.getpid() or not os.path.isdir(_made[-1][1]):
        path = tempfile.mkdtemp(prefix="pyjail-boxlite-")
        os.chmod(path, SEEN)
        _made[:] = [(os.getpid(), path)]
    return _made[-1][1]


def _remove() -> None:
    for pid, path in _made:
        if pid == os.getpid():  # and not a child that ends as its parent would
            shutil.rmtree(path, ignore_errors=True)


def _forget() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it


atexit.register(_remove)
os.register_at_fork(after_in_child=_forget)
