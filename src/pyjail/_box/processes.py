"""What lives in a box, as the host sees it: by its leaves, never by what a program says of itself."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator

from pyjail._core.native import lib

from pyjail._base.errors import KeeperError
from pyjail._base.records import dataclass
from pyjail._base.shown import Shown
from pyjail._box.keeper import Slot
from pyjail._box.life import Life
from pyjail._keeper.talk import Gone

MOST = 10_000  # told of
PATIENCE_S, TRIES, LOOK_S = 10.0, 200, 0.002
COMING_S = 1.0  # for a program that was asked for, and that the keeper has not come to
LONGEST = 4096  # bytes of a command line
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, repr=False)
class BoxProcess(Shown):
    """A process in a box, when it was looked at. What a process may choose by itself (``args``, ``command``) is text.

    Attributes:
        pid: its number inside. host_pid: in this process's own pid namespace.
        args: its command line, at most 4,096 bytes of it. command: the name that the kernel has for it.
        kept: whether it was left behind by a program that has ended (``orphans="keep"``).
        started: s since the epoch. memory: resident bytes, which the kernel counts roughly: 0 for what has few.
    """

    pid: int
    host_pid: int
    args: tuple[str, ...]
    command: str
    kept: bool
    started: float
    memory: int

    def _words(self) -> Iterator[str]:
        yield f"{self.pid}: {' '.join(self.args) or self.command}"
        if self.kept:
            yield "kept"


def living(life: Life) -> list[tuple[int, bool]]:
    """(pid as we number it, whether it was kept) of all that runs; not what is armed, and waits for a program."""
    keeper = life.keeper
    if keeper is None or life.closed is not None or not keeper.cgroup.paths:
        return []
    end = time.monotonic() + COMING_S
    while True:
        with life.slots.lock:
            running = {slot.leaf for slot in life.slots.leased if isinstance(slot, Slot)}  # first: these are kept later
        if None not in running or time.monotonic() >= end:
            break
        time.sleep(LOOK_S)
    found: list[tuple[int, bool]] = []
    for number in sorted(number for number in running | life.kept if number):
        pids = _read(f"{keeper.cgroup.boxes[0]}/r{number}/cgroup.procs", 1 << 20).split()
        if not pids and number not in running:
            life.kept.discard(number)  # a number never comes again
        found += [(int(pid), number not in running) for pid in pids if pid.isdigit() and pid != b"0"]
    return found[:MOST]


def told(life: Life) -> list[BoxProcess]:
    """See `Box.processes`."""
    since = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    rows = [_row(pid, kept, since) for pid, kept in living(life)]
    return sorted((row for row in rows if row is not None), key=lambda row: (row.started, row.pid))


def end_all(life: Life) -> None:
    """See `Box.kill`. KeeperError when something cannot be killed."""
    keeper = life.keeper
    if keeper is None:
        return
    end = time.monotonic() + PATIENCE_S
    living(life)  # who was asked for before this is killed, too
    life.slots.end_unused(math.inf, 0)  # what is armed would be killed with them, and its next program with it
    while True:
        keeper.wake()
        with contextlib.suppress(Gone):
            keeper.send(lib.OP_KILL)
        for _ in range(TRIES):
            if not living(life):
                return
            time.sleep(LOOK_S)
        if time.monotonic() >= end:
            raise KeeperError(f"a process of the box could not be killed within {PATIENCE_S:g} s")


def _row(pid: int, kept: bool, since: float) -> BoxProcess | None:
    """None: it has ended meanwhile. (That its number is another's by now would take a round of all numbers.)"""
    stat = _read(f"/proc/{pid}/stat", 4096)
    name, _, rest = stat.partition(b"(")[2].rpartition(b")")  # a name may hold brackets and blanks
    fields = rest.split()
    if len(fields) < 22 or (fields[0] in (b"Z", b"X") and int(fields[17]) < 2):
        return None  # (The first thread may be a zombie while others run.)
    status = dict(line.split(b":", 1) for line in _read(f"/proc/{pid}/status", 65536).splitlines() if b":" in line)
    inner = status.get(b"NSpid", b"").split()
    line = _read(f"/proc/{pid}/cmdline", LONGEST)
    words = line.removesuffix(b"\0").split(b"\0") if line else []
    return BoxProcess(
        pid=int(inner[-1]) if inner else -1,
        host_pid=pid,
        args=tuple(map(os.fsdecode, words)),
        command=os.fsdecode(name),
        kept=kept,
        started=round(since + int(fields[19]) / _TICKS, 2),
        memory=int(fields[21]) * _PAGE,
    )


def _read(path: str, most: int) -> bytes:
    """What a file begins with; nothing, if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return b""
    try:
        parts = b""
        while len(parts) < most and (chunk := os.read(fd, most - len(parts))):
            parts += chunk
        return parts
    except OSError:
        return b""
    finally:
        os.close(fd)
