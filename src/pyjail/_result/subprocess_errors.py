"""The exceptions that are subprocess's, too: loaded when one of them is to be raised or named, because that module and
what it imports take a tenth of the time of pyjail's own import."""

from __future__ import annotations

import subprocess

from pyjail._base.errors import JailError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyjail._result.completed import Completed


class TimeoutExpired(JailError, subprocess.TimeoutExpired):
    """The caller's own ``timeout`` passed; the jail is gone. ``output`` and ``stderr`` hold what came until then."""

    __module__ = "pyjail"

    def __init__(self, cmd: Any, timeout: float, output: Any = None, stderr: Any = None) -> None:
        subprocess.TimeoutExpired.__init__(self, cmd, timeout, output=output, stderr=stderr)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.cmd, self.timeout, self.output, self.stderr)


class PoolExhaustedError(TimeoutExpired, TimeoutError):
    """No place became free within the caller's patience; nothing was started.

    Attributes: ``size`` (int, jails that may run at once), ``waiting`` (int, others in the queue then), ``timeout``
    (float, seconds), ``hint`` (str, the fix); ``cmd`` is what was to be run.
    """

    __module__ = "pyjail"

    def __init__(self, cmd: Any, timeout: float, size: int, waiting: int, hint: str) -> None:
        TimeoutExpired.__init__(self, cmd, timeout)
        self.size = size
        self.waiting = waiting
        self.hint = hint

    def __str__(self) -> str:
        return (
            f"all {self.size} places were taken for {self.timeout:g} s, and {self.waiting} others wait; nothing was "
            f"started. {self.hint}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.cmd, self.timeout, self.size, self.waiting, self.hint)


class JailedProcessError(JailError, subprocess.CalledProcessError):
    """Raised with ``check=True`` for any verdict but OK; ``result`` is the whole `Result`."""

    __module__ = "pyjail"

    def __init__(self, result: Completed) -> None:
        self.result = result
        subprocess.CalledProcessError.__init__(
            self, result.returncode, result.args, output=result.stdout, stderr=result.stderr
        )

    def __str__(self) -> str:
        return f"{self.result.args!r}: {self.result.verdict.value} (returncode {self.result.returncode})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.result,)
