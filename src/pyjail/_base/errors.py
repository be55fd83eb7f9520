"""The exceptions of pyjail; `JailError` has them drawn as a tree."""

from __future__ import annotations

import errno as _errno
import os

from pyjail._base import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def document(e: Exception) -> dict[str, Any]:
    """An "error" of docs/data.md."""
    with lazy.lock:
        from pyjail._base import plain

    return plain.error(e)


class JailError(Exception):
    """Base of everything that pyjail raises by itself.

        JailError
          SpecError(ValueError)            a request that makes no sense: which field, why
          HostError(RuntimeError)          this machine cannot enforce a control here
          SetupError(OSError)              a step of building the jail failed
            ExecError                      the program could not be executed
              ProgramNotFoundError(FileNotFoundError)
              ProgramPermissionError(PermissionError)
            CwdNotFoundError(FileNotFoundError)
          KeeperError                      our own helper died before the program started
          OutputDecodeError(UnicodeDecodeError)   only with errors="strict": the output is no text; it has the result
          TimeoutExpired(subprocess.TimeoutExpired)
            PoolExhaustedError(TimeoutError)   the patience ended before there was a free place: nothing was started
          PoolClosedError(RuntimeError)    the pool takes no more runs
          JailedProcessError(subprocess.CalledProcessError)

    Every one of them can be pickled, and everything in its text is also an attribute.
    A limit that is exceeded is a result, never an exception (unless ``check=True``).
    """

    def to_dict(self) -> dict[str, Any]:
        """Its class, text and attributes, in types that `json.dumps` takes: an "error" of docs/data.md."""
        return document(self)


class SpecError(JailError, ValueError):
    """A request that makes no sense; nothing was started.

    Attributes: ``field`` (str) names the field at fault, ``value`` what was given, ``reason`` what is allowed.

    >>> import pyjail
    >>> try:
    ...     pyjail.Limits(memory=0)
    ... except pyjail.SpecError as e:
    ...     print(e.field)
    memory
    """

    def __init__(self, field: str, value: object, reason: str) -> None:
        self.field = field
        self.value = value
        self.reason = reason
        try:
            shown = repr(os.fspath(value) if isinstance(value, os.PathLike) else value)
        except Exception:  # nested too deep, an int of more digits than Python shows, a class that fails at it
            shown = f"<{type(value).__name__} that cannot be shown>"
        if len(shown) > 120:
            shown = shown[:117] + "..."
        super().__init__(f"{field}={shown}: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self.value, self.reason)


class HostError(JailError, RuntimeError):
    """This machine cannot enforce a control that was asked for; the program was not started.

    Attributes: ``control`` (str), ``cause`` (str), ``hint`` (str, the exact fix).
    """

    def __init__(self, control: str, cause: str, hint: str) -> None:
        self.control = control
        self.cause = cause
        self.hint = hint
        super().__init__(f"{control} cannot be enforced here: {cause}. Fix: {hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.control, self.cause, self.hint)


class SetupError(JailError, OSError):
    """A step of building the jail failed; the program was not started.

    Attributes: ``step`` (str, one of the step names in docs/steps.md), ``index`` (int or None, the row of that
    step), ``detail`` (str, what the row was), ``errno`` (int), ``hint`` (str, may be empty).
    """

    def __init__(self, step: str, index: int | None, detail: str, errno: int, hint: str = "") -> None:
        self.step = step
        self.index = index
        self.detail = detail
        self.hint = hint
        super().__init__(errno, os.strerror(errno))
        self.errno = errno

    def __str__(self) -> str:
        where = self.step if self.index is None else f"{self.step}[{self.index}]"
        name = _errno.errorcode.get(self.errno or 0, str(self.errno))
        text = f"{where}: {self.detail}: {name} ({os.strerror(self.errno or 0)})"
        return f"{text}. {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.step, self.index, self.detail, self.errno, self.hint)


class KeeperError(JailError):
    """Our own helper died or spoke nonsense before the program started."""
