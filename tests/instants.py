"""Things that happen at one exact step of pyjail's own Python code: a signal handler that raises, a fork, a death.

A step is where CPython looks for signals: a function of pyjail is entered or left, or a C function that it calls has
returned. What happens there happens as it would in a handler: the exception comes out of that very call.
"""

from __future__ import annotations

import gc
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyjail
from tests.host_side import fds, keepers_of, leaves_of
from tests.scripts import until

INSIDE = str(Path(pyjail.__file__).parent) + os.sep


class Interrupted(BaseException):
    """As KeyboardInterrupt, and nobody else's."""


def interrupt() -> None:
    raise Interrupted


class Instant:
    """Calls ``act`` once, at step ``number`` of what is called in its block; counts ``steps`` in any case.

    ``within``: only steps of a function of that name, and of what it calls, count.
    """

    def __init__(self, number: int, act: Callable[[], object] = interrupt, within: str = "") -> None:
        self.number, self.act, self.within, self.steps = number, act, within, 0

    def __enter__(self) -> Instant:
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    @property
    def come(self) -> bool:
        return 0 < self.number <= self.steps

    def _see(self, frame: Any, event: str, _: object) -> None:
        if event == "c_call" or not frame.f_code.co_filename.startswith(INSIDE):
            return
        if self.within and not _below(frame, self.within):
            return
        self.steps += 1
        if self.steps == self.number:
            sys.setprofile(None)
            self.act()


def _below(frame: Any, name: str) -> bool:
    while frame is not None and frame.f_code.co_name != name:
        frame = frame.f_back
    return frame is not None


def every(call: Callable[[], object], most: int) -> Iterator[int]:
    """Numbers of the steps that ``call`` takes, or ``most`` of them from the first to the last; see `some`."""
    with Instant(0) as counted:
        call()
    yield from some(counted.steps, most)


def some(steps: int, most: int) -> range:
    """Numbers from 1 to ``steps``: with --all ``most`` of them; else a quarter, which ones is another test's name's choice,
    so that tests of one thing meet other steps of what they share. PYJAIL_TEST_STEPS: so many at most."""
    if os.environ.get("PYJAIL_TEST_ALL") != "1":
        most = -(-most // 4)
    most = int(os.environ.get("PYJAIL_TEST_STEPS", most))
    between = max(1, -(-steps // most))
    return range(1 + zlib.crc32(os.environ.get("PYTEST_CURRENT_TEST", "").encode()) % between, steps + 1, between)


class Unharmed:
    """No fd, process or cgroup of ours is more afterwards, and no fd of a stranger's is closed.

    Of what an interrupted function held Python's own destructors take care, and say so: that is not looked at. A handler
    that raises within a destructor is lost, with the frames that hold all that it was about.
    """

    def __enter__(self) -> Unharmed:
        self.hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        pyjail.run(["true"])
        self.before = self._count()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        gc.collect()
        sys.unraisablehook = self.hook
        if kind is None:
            assert until(lambda: self._count() <= self.before, 10), (self.before, self._count())

    @staticmethod
    def _count() -> tuple[int, ...]:
        gc.collect()
        pyjail.close()
        return fds(), len(keepers_of(os.getpid())), len(leaves_of(os.getpid()))

    @staticmethod
    def strangers(act: Callable[[], object]) -> None:
        """``act()``, which lets go of something: what has just been opened by others stays open."""
        null = os.open("/dev/null", os.O_RDONLY)
        opened = [null, *(os.dup(null) for _ in range(24))]
        here = os.fstat(null)
        act()
        gc.collect()
        try:
            for fd in opened:
                assert os.path.samestat(os.fstat(fd), here)
        finally:
            for fd in opened:
                os.close(fd)
