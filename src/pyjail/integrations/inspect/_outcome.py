"""What Inspect is told: of a program that ended, of one that could not be started, of what failed on our side."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from inspect_ai.util import ExecResult, OutputLimitExceededError, SandboxEnvironmentLimits, SandboxUnavailableError

from pyjail import (
    CwdNotFoundError,
    ExecError,
    JailError,
    ProgramNotFoundError,
    ProgramPermissionError,
    Result,
    SetupError,
    SpecError,
    Verdict,
)

# What an operation on files may say of the path that it was given; all else is a failure of ours.
_OF_PATHS = frozenset((
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EROFS, errno.ENOSPC, errno.EDQUOT,
    errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO, errno.ETXTBSY, errno.EEXIST, errno.EFBIG,
))  # fmt: skip
_OF_PROGRAMS = frozenset((errno.ENOEXEC, errno.E2BIG, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ETXTBSY))
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells tell it


@contextmanager
def running(program: str, cwd: str | None) -> Iterator[None]:
    """What the program's name or directory is wrong for is OSError; what is ours, SandboxUnavailableError."""
    try:
        yield
    except CwdNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), cwd) from None
    except ProgramPermissionError:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), program) from None
    except SetupError as e:
        if e.step == "cwd" and e.errno in (errno.EACCES, errno.ENOTDIR):
            raise OSError(e.errno, os.strerror(e.errno), cwd) from None
        raise unavailable(e) from e
    except SpecError:
        raise
    except (JailError, OSError) as e:
        raise unavailable(e) from e


@contextmanager
def reaching(path: str) -> Iterator[None]:
    """What the path is wrong for is OSError, with the path; what is ours, SandboxUnavailableError."""
    try:
        yield
    except OSError as e:
        if isinstance(e, JailError) or e.errno not in _OF_PATHS:
            raise unavailable(e) from e
        raise OSError(e.errno, os.strerror(e.errno or 0), path) from e
    except SpecError:
        raise
    except JailError as e:
        raise unavailable(e) from e


def unavailable(reason: object) -> SandboxUnavailableError:
    """Never the program's doing: Inspect makes an error of it, and no answer."""
    return SandboxUnavailableError(f"pyjail: {reason}")


def not_started(e: ExecError, program: str) -> ExecResult[str]:
    """As a shell tells it. SandboxUnavailableError for what is not the program's fault."""
    if isinstance(e, ProgramNotFoundError):
        return ExecResult(False, NOT_FOUND, "", f"{program}: not found\n")
    if e.errno not in _OF_PROGRAMS:
        raise unavailable(e) from e
    return ExecResult(False, NOT_EXECUTABLE, "", f"{program}: {os.strerror(e.errno or 0)}\n")


def ended(result: Result[bytes], seconds: float | None) -> ExecResult[str]:
    """Of a program that ran.

    Raises:
        TimeoutError: with what it had written as ``truncated_output``. OutputLimitExceededError: with that, too.
        SandboxUnavailableError: it was not the program that decided how it ended.
    """
    if result.verdict is Verdict.JAIL_ERROR:
        raise unavailable(result.error)
    stdout, stderr = (stream.decode("utf-8", "replace") for stream in (result.stdout, result.stderr))
    if result.verdict is Verdict.WALL_TIME:
        late = TimeoutError(f"Command timed out after {seconds:g} seconds" if seconds else "Command timed out")
        setattr(late, "truncated_output", stdout + stderr)  # noqa: B010 (no attribute of the class)
        raise late
    if result.verdict is Verdict.OUTPUT:
        raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR, stdout + stderr)
    code = result.returncode if result.returncode >= 0 else 128 - result.returncode
    if said := told(result):
        code = code or 128 + signal.SIGKILL  # a part of it was killed, however it ended itself
        stderr += f"{'' if not stderr or stderr.endswith(chr(10)) else chr(10)}pyjail: {said}\n"
    return ExecResult(code == 0, code, stdout, stderr)


def told(result: Result[bytes]) -> str:
    """What ended the program, where its exit code does not say it; "" otherwise."""
    limits = result.limits
    match result.verdict:
        case Verdict.MEMORY:
            return "killed: no memory is left of what the sandbox, or this program, may use"
        case Verdict.CPU_TIME:
            return f"killed: its CPU time limit is {limits.cpu_time:g} s"
        case Verdict.SECURITY:
            return f"killed: the system call {result.syscall or '?'} is not allowed here"
    return ""


def event(result: Result[bytes], program: str) -> dict[str, Any]:
    """For the transcript: what a sandbox's limits and filter did."""
    return {
        "verdict": str(result.verdict),
        "program": program,
        "said": told(result),
        "oom_kills": result.oom_kills,
        "limits_hit": sorted(result.limits_hit),
        "syscall": result.syscall,
        "cpu_time": result.usage.cpu_time,
        "memory_peak": result.usage.memory_peak,
    }
