"""What ended a keeper."""

from __future__ import annotations

import os
import signal

from pyjail._base.fds import Fd


def reaped(pidfd: Fd) -> str:
    """What its guard ended with, in words. Raises ChildProcessError when somebody else has waited for it."""
    found = os.waitid(os.P_PIDFD, pidfd.number, os.WEXITED)  # its pid may be another's by now
    assert found is not None
    code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
    code = 128 - code if code > 128 else code  # the guard tells of the keeper as a shell does
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
