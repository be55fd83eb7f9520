"""What a program's end is told as: `ExecResult`, `RunResult`, or an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyjail import Result, Verdict
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


def told(result: Result[bytes], command: str) -> ExecResult:
    """The result of a program that ended by itself.

    Raises:
        TimeoutError, ResourceExhaustedError: a limit ended it; the error has ``result``. InternalError: it is not the
        program that decided how this ended.
    """
    verdict = result.verdict
    message = f"the filter refused {result.syscall or 'a system call'}" if verdict is Verdict.SECURITY else None
    out, err = ((stream or b"").decode("utf-8", "replace") for stream in (result.stdout, result.stderr))
    made = ExecResult(result.returncode, out, err, message or result.error, result)
    error: errors.BoxliteError
    if verdict is Verdict.JAIL_ERROR:
        error = errors.InternalError(f"{command!r} ended by what is not its doing: {result.error}")
    elif verdict is Verdict.WALL_TIME:
        fix = "timeout_seconds= of the box, timeout= of the call; None: no limit"
        error = errors.TimeoutError(f"{command!r} took longer than {result.limits.wall_time:g} s, killed: {fix}")
    elif verdict in _LIMITS:
        name, what, fix = _LIMITS[verdict]
        limit = getattr(result.limits, name)
        error = errors.ResourceExhaustedError(f"{command!r} took {what} ({name}: {limit}), killed: {fix}")
    else:
        return made
    error.result = made
    raise error
