"""Programs that use a known amount, or all they get, and tell how much it was. What they tell is compared with what
the host counted, wherever it counts."""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import signal
import time
from typing import Any

from pyjail._selftest.attacks.toolkit import FUNCTIONS, Scene, say

MIB = 1 << 20


def cpu(scene: Scene) -> None:
    """Compute in two processes, so that the sum is what counts."""
    del scene
    with contextlib.suppress(OSError):
        os.fork()
    while True:
        pass


def share(scene: Scene) -> None:
    """Compute for a while of wall time."""
    end = time.monotonic() + scene["seconds"]
    while time.monotonic() < end:
        pass


def sleep(scene: Scene) -> None:
    del scene
    time.sleep(600)


def nothing(scene: Scene) -> None:
    del scene


def allocate(scene: Scene) -> None:
    """So many bytes, each page touched, held until the end."""
    area = mmap.mmap(-1, scene["bytes"])
    for offset in range(0, scene["bytes"], 4096):
        area[offset] = 1


def take(scene: Scene) -> None:
    """Memory, until the end of it."""
    del scene
    kept = []
    while True:
        kept.append(b"x" * MIB)


def processes(scene: Scene) -> None:
    """Children until there may be no more of them; told: how many processes there were."""
    del scene
    number = 1
    children: list[int] = []
    with contextlib.suppress(OSError):
        while number < 4096:
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
            number += 1
    for child in children:
        os.kill(child, signal.SIGKILL)
    say(measure=number)


def write(scene: Scene) -> None:
    """Exactly so many bytes to standard output, nothing else."""
    left = scene["bytes"]
    while left:
        left -= os.write(1, b"x" * min(left, 65536))
    os._exit(0)


def _fill(path: str, most: int) -> int:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    written = 0
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    with contextlib.suppress(OSError):
        while written < most:
            written += os.write(fd, b"x" * 4096)
    with contextlib.suppress(OSError):
        while written < most:
            written += os.write(fd, b"x")
    os.close(fd)
    return written


def disk(scene: Scene) -> None:
    """Bytes that one file in the work directory takes before the disk is full."""
    say(measure=_fill("/box/all", scene["most"]))


def file_size(scene: Scene) -> None:
    """Bytes that one file takes before it is too large."""
    say(measure=_fill("/tmp/all", scene["most"]))


def inodes(scene: Scene) -> None:
    """Files that can be made in the work directory."""
    made = 0
    with contextlib.suppress(OSError):
        while made < scene["most"]:
            os.close(os.open(f"/box/{made}", os.O_CREAT | os.O_WRONLY))
            made += 1
    say(measure=made)


def open_files(scene: Scene) -> None:
    """Descriptors that can be open at once, 0-2 included."""
    opened: list[Any] = [0, 1, 2]
    with contextlib.suppress(OSError):
        while len(opened) < scene["most"]:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    say(measure=len(opened))


def address_space(scene: Scene) -> None:
    """Virtual memory that can be had in blocks of 1 MiB, with what was there at the start."""
    del scene
    with open("/proc/self/statm") as f:
        total = int(f.read().split()[0]) * resource.getpagesize()
    kept: list[mmap.mmap] = []
    with contextlib.suppress(OSError, MemoryError):
        while len(kept) < 8192:
            kept.append(mmap.mmap(-1, MIB))
            total += MIB
    say(measure=total)


MEASURES = (
    cpu,
    share,
    sleep,
    nothing,
    allocate,
    take,
    processes,
    write,
    disk,
    file_size,
    inodes,
    open_files,
    address_space,
)
FUNCTIONS.update({f"measures.{f.__name__}": f for f in MEASURES})
