"""A lock of the store: `Lock`, which no interrupt leaves held.

A signal handler may raise between any two steps of Python code, and what then holds a file lives as long as the
exception does, or until Python's collector comes. So the file belongs to an object that is there before it is opened,
whose with-block is there before it is taken, and which C code alone opens and closes.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
from io import FileIO

_opener = functools.partial(os.open, mode=0o600)


class Lock(FileIO):
    """flock(2) on the file ``path``, for one with-block: nothing is held before `take`, nothing after the block.

    ``path`` may be said later, by who takes it.
    """

    def __init__(self, path: str = "") -> None:
        self.path = path

    def __enter__(self) -> Lock:  # of a file that is not open yet
        return self

    def take(self, how: int = fcntl.LOCK_EX, create: bool = True) -> None:
        """Wait for it, as ``how`` of flock(2) says; one that is held becomes of this kind, after a moment without.

        Raises BlockingIOError when ``how`` has LOCK_NB, FileNotFoundError when it is not there and not to be made.
        """
        while True:
            if self.closed:
                FileIO.__init__(self, self.path, "ab+" if create else "rb+", opener=_opener)
            fcntl.flock(self, how)
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self.path).st_ino == os.fstat(self.fileno()).st_ino:
                    return
            FileIO.close(self)  # it was removed meanwhile, with its tree
