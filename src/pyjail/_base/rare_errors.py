"""The exceptions of pyjail that a program, a policy or a closed pool is the reason for; `errors` has those of ours."""

from __future__ import annotations

from pyjail._base.errors import JailError, SetupError, document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CwdNotFoundError(SetupError, FileNotFoundError):
    """The working directory asked for does not exist inside the jail."""


class ExecError(SetupError):
    """execve(2) failed: the program could not be started. ``errno`` says why (ENOEXEC, E2BIG, ELOOP, ...)."""


class ProgramNotFoundError(ExecError, FileNotFoundError):
    """The program, or the interpreter that its ``#!`` line or ELF header names, is not in the jail (ENOENT)."""


class ProgramPermissionError(ExecError, PermissionError):
    """The program is a directory or not executable for the jail's user (EACCES)."""


class PoolClosedError(JailError, RuntimeError):
    """The pool takes no more runs: it was closed, or terminated, or what it ran in has ended; nothing was started."""


class PolicyWarning(UserWarning):
    """A policy allows what the default profile refuses for a reason. See `pyjail.lint`.

    Attributes: ``call`` (str, the system call, or "*" for all), ``means`` (str, which use of it; may be empty),
    ``why`` (str, what is dangerous about it).
    """

    def __init__(self, call: str, means: str, why: str) -> None:
        self.call = call
        self.means = means
        self.why = why
        what = "every call" if call == "*" else f"{call} ({means})" if means else call
        super().__init__(f"the seccomp policy allows {what}: {why}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.call, self.means, self.why)

    def to_dict(self) -> dict[str, Any]:
        """Its class, text and attributes, as `JailError.to_dict` has them."""
        return document(self)


class JailWarning(PolicyWarning):
    """A jail opens what the default one keeps shut. See `pyjail.lint`.

    Attributes: ``field`` (str, of `Jail`), ``opens`` (str, what), ``why`` (str, what is dangerous about it); ``call``
    and ``means`` are empty.
    """

    def __init__(self, field: str, opens: str, why: str) -> None:
        self.field = field
        self.opens = opens
        self.call = self.means = ""
        self.why = why
        UserWarning.__init__(self, f"Jail({field}=) opens {opens}: {why}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self.opens, self.why)


for _error in (
    CwdNotFoundError, ExecError, ProgramNotFoundError, ProgramPermissionError, PoolClosedError, PolicyWarning,
    JailWarning,
):  # fmt: skip
    _error.__module__ = "pyjail"  # whoever raised it first
