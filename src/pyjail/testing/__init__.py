"""For tests of code that runs jails: which keepers this process has, what runs below a process, what is left.

A keeper is the process that makes the jails; a warm one serves the next run as well. Nothing here is needed to run
programs, and none of it is quick: processes and cgroup directories are read from /proc and /sys.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pyjail._run import run

__all__ = ["below", "busy", "cgroups", "idle", "nothing_left"]

JANITOR = "pyjail-janitor"


def __dir__() -> list[str]:
    return __all__


def idle() -> list[int]:
    """Pids of the warm keepers of `pyjail.run` and `start` that nobody uses now; the one used last is the last one.

    It is the pid of the keeper's guard, a child of this process: what kills it ends the keeper and its jail.
    """
    return [keeper.pid for keeper in list(run.idle.keepers)]


def busy() -> list[int]:
    """Pids, as `idle` has them, of the keepers of `pyjail.run` and `start` that are at work, or are being ended."""
    return [keeper.pid for keeper in list(run.idle.leased)]


def below(pid: int | None = None, *, janitor: bool = False) -> list[int]:
    """Pids of all that runs below this process, or below ``pid``: guards, keepers, programs in jails, and others.

    Args:
        pid: a process. Default: this one.
        janitor: with the one process that removes cgroup directories after the embedder's end.

    >>> import pyjail, pyjail.testing
    >>> with pyjail.start(["sleep", "9"]) as program:
    ...     print(set(pyjail.testing.busy()) <= set(pyjail.testing.below()))
    True
    """
    children: dict[int, list[tuple[int, str]]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                head, _, tail = Path(f"/proc/{entry}/stat").read_text(errors="replace").rpartition(")")
            except OSError:
                continue
            children.setdefault(int(tail.split()[1]), []).append((int(entry), head.partition("(")[2]))
    found: list[int] = []
    todo = [os.getpid() if pid is None else pid]
    while todo:
        for child, name in children.get(todo.pop(), []):
            todo.append(child)
            if janitor or name != JANITOR:
                found.append(child)
    return found


def cgroups(pid: int | None = None) -> list[str]:
    """Cgroup directories that name this process, or ``pid``, as their owner: none once it has ended or closed them."""
    mark = f"pyjail-{os.getpid() if pid is None else pid}-"
    return [
        os.path.join(root, name)
        for root, names, _ in os.walk("/sys/fs/cgroup", onerror=None)
        for name in names
        if name.startswith(mark)
    ]


@contextlib.contextmanager
def nothing_left(seconds: float = 10.0) -> Iterator[None]:
    """Assert that a block leaves neither an open fd nor a process nor a cgroup of a run, after `pyjail.close`.

    Warm keepers of this process are ended before and after. Pools and sessions that stay open beyond the block are
    what is left. Not for a process whose other threads open files meanwhile.

    Args:
        seconds: for which ends that go on in the background are waited for.

    Raises:
        AssertionError: what there was before and is after.

    >>> import pyjail, pyjail.testing
    >>> with pyjail.testing.nothing_left():
    ...     pyjail.run(["true"]).ok
    True
    """
    before = _left(seconds)
    yield
    after = _left(seconds, before)
    assert after == before, f"(fds, processes, cgroups) were {before} and are {after}"


def _left(seconds: float, wanted: tuple[int, int, int] | None = None) -> tuple[int, int, int]:
    """Fds, processes below us, cgroups of runs; looked at until they are as wanted, or the same twice."""
    run.run(["true"])  # what the first run opens for good
    end, last = time.monotonic() + seconds, None
    while True:
        run.close()
        now = len(os.listdir("/proc/self/fd")), len(below()), len(cgroups())
        if now == (last if wanted is None else wanted) or time.monotonic() > end:
            return now
        last = now
        time.sleep(0.02)
