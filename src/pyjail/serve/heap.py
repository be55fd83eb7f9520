"""The C library's heap: `keep`."""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3), in malloc.h
KEPT = 16 << 20  # bytes of it that stay when they are free
MAPPED = 4 << 20  # bytes of one block from which on it is a mapping of its own, and is gone when it is free


def keep() -> None:
    """Have what is free be used again. Else each text of a megabyte is 256 page faults, and there are several of the
    same length on the way of an output: half of the time that long ones take.

    What the environment says of it (mallopt(3)) is left as it is. There is nothing to do where the C library is not
    glibc.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT)
        mallopt(_MMAP_THRESHOLD, MAPPED)
