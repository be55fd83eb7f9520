"""What a program's end is told as: `ExecResult`, `RunResult`, or an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyjail import Limits, Result, Verdict
from pyjail.boxlite import _errors as errors


@dataclass
class ExecResult:
    """How a program ended, and what it wrote.

    Attributes:
        exit_code: its own; negative: the signal that ended it.
        stdout, stderr: text; bytes that are none are U+FFFD.
        error_message: why it died, where its exit code does not say it; else None.
        result: the `pyjail.Result`, with verdict, usage and receipt.
    """

    exit_code: int
    stdout: str
    stderr: str
    error_message: str | None = None
    result: Any = field(default=None, compare=False, repr=False)


class RunResult(str):
    """What Python code wrote to stdout: a str, which also has the rest.

    Attributes:
        stdout: the same text. stderr: text. exit_code: as in `ExecResult`.
        result: the `pyjail.Result`; with ``stateful=True`` what `pyjail.Interpreter` returned.
    """

    __slots__ = ("exit_code", "result", "stderr")

    exit_code: int
    stderr: str
    result: Any

    def __new__(cls, stdout: str, stderr: str = "", exit_code: int = 0, result: Any = None) -> RunResult:
        made = super().__new__(cls, stdout)
        made.stderr, made.exit_code, made.result = stderr, exit_code, result
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.stderr, self.exit_code, self.result)

    @property
    def stdout(self) -> str:
        """The text itself."""
        return str(self)


_LIMITS = {
    Verdict.MEMORY: ("memory", "more memory than it may have", "memory_mb="),
    Verdict.OUTPUT: ("output", "more output than is kept of a stream", "redirect it into a file"),
    Verdict.CPU_TIME: ("cpu_time", "more CPU time than it may have", "fewer or smaller steps"),
}


def error_of(verdict: Verdict, command: str, limits: Limits, why: str | None) -> errors.BoxliteError | None:
    """The error for how a program ended; None: its end is its own."""
    if verdict is Verdict.JAIL_ERROR:
        return errors.InternalError(f"{command} ended by what is not its doing: {why}")
    if verdict is Verdict.WALL_TIME:
        fix = "timeout_seconds= of the box, timeout= of the call; None: no limit"
        return errors.TimeoutError(f"{command} took longer than {limits.wall_time:g} s and was ended: {fix}")
    if verdict in _LIMITS:
        name, what, fix = _LIMITS[verdict]
        limit = getattr(limits, name)
        return errors.ResourceExhaustedError(f"{command} took {what} ({name}: {limit}) and was killed: {fix}")
    return None


def told(result: Result[bytes], command: str) -> ExecResult:
    """The result of a program that ended by itself.

    Raises:
        TimeoutError, ResourceExhaustedError: a limit ended it; the error has ``result``. InternalError: it is not the
        program that decided how this ended.
    """
    out, err = ((stream or b"").decode("utf-8", "replace") for stream in (result.stdout, result.stderr))
    refused = f"the filter refused {result.syscall or 'a system call'}" if result.verdict is Verdict.SECURITY else None
    made = ExecResult(result.returncode, out, err, refused or result.error, result)
    error = error_of(result.verdict, repr(command), result.limits, result.error)
    if error is None:
        return made
    error.result = made
    raise error
