"""Failures of pyjail and of the machine, for tests that an adapter never gives them as an answer of the program."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable

import pyjail
import pyjail.testing


def lost() -> pyjail.Result:
    """The result of a run of which nothing can be said."""
    return pyjail.Result(["true"], -9, pyjail.Verdict.JAIL_ERROR, stdout="forged", error="the keeper was killed")


FAILURES: dict[str, Callable[[], pyjail.Result]] = {}


def _failure(error: Exception) -> None:
    def fail() -> pyjail.Result:
        raise error

    FAILURES[type(error).__name__] = fail


_failure(pyjail.HostError("memory", "no controller", "mount one"))
_failure(pyjail.KeeperError("the keeper died"))
_failure(pyjail.SetupError("mount", 1, "/box", errno.EIO))
FAILURES["jail_error"] = lost


def kill_keepers() -> None:
    """As the kernel does that runs out of memory: every keeper below this process is killed, and what is in it."""
    for pid in pyjail.testing.below():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while any(_lives(pid) for pid in pyjail.testing.below()) and time.monotonic() < end:
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
