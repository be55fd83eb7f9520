"""One thread for what no run looks after: keepers that die idle, or idle for long, and runs of dead event loops."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import weakref
from typing import Protocol

from pyjail._base.errors import JailError

PERIOD_S = 0.5


class Tended(Protocol):
    """Something that wants to be looked after; it is as long as somebody else refers to it."""

    def tend(self) -> None: ...


_all: weakref.WeakValueDictionary[int, Tended] = weakref.WeakValueDictionary()
_lock = threading.Lock()
_thread: threading.Thread | None = None


def add(one: Tended) -> None:
    """Call ``one.tend()`` about twice a second. OSError: this process cannot have another thread."""
    global _thread
    with _lock:
        _all[id(one)] = one
        if _thread is not None:
            return
        _thread = threading.Thread(target=_tend, name="pyjail-upkeep", daemon=True)
        try:
            _thread.start()
        except RuntimeError as e:
            _thread = None
            fix = "raise RLIMIT_NPROC, pids.max or RLIMIT_AS of this process"
            raise OSError(errno.EAGAIN, f"{e}, and a pool needs one to look after its keepers: {fix}") from e


def _tend() -> None:
    global _thread
    while True:
        time.sleep(PERIOD_S)
        with _lock:
            found = [one for ref in _all.valuerefs() if (one := ref()) is not None]
            if not found:
                _thread = None
                return
        for one in found:
            with contextlib.suppress(JailError, OSError):  # whoever needs the keeper next is told
                one.tend()
        del found, one  # the last reference may go while we sleep


def _after_fork() -> None:
    """In the child: there is no such thread. The pools that it has start one when they are used."""
    global _lock, _thread
    _lock = threading.Lock()
    _thread = None


os.register_at_fork(after_in_child=_after_fork)
