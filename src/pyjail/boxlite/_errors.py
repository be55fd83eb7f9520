"""The exceptions of BoxLite, by their names and with their codes, and what of pyjail's becomes which of them."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyjail


class BoxliteError(Exception):
    """Base of all errors of this module.

    Attributes:
        result: the `ExecResult` of a program that a limit ended, with what it had written; else None.
    """

    result: Any = None


class ExecError(BoxliteError):
    """A command that had to succeed ended with another exit code than 0, such as an installation of packages.

    Attributes: ``command`` (str), ``exit_code`` (int), ``stderr`` (str).
    """

    def __init__(self, command: str, exit_code: int, stderr: str) -> None:
        self.command, self.exit_code, self.stderr = command, exit_code, stderr
        super().__init__(f"Command '{command}' failed with exit code {exit_code}: {stderr}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.command, self.exit_code, self.stderr), dict(self.__dict__)


class TimeoutError(BoxliteError, builtins.TimeoutError):
    """A program, or its box, took longer than it may; it has been killed. Also the TimeoutError of Python."""


class ParseError(BoxliteError):
    """An output could not be parsed."""


class _Native(BoxliteError, RuntimeError):
    """What the real package's runtime reports: one class for each ``code``. Also a RuntimeError, as there."""

    code = ""


class InvalidArgumentError(_Native, ValueError):
    """A value that makes no sense; nothing was started. Also a ValueError."""

    code = "invalid_argument"


class UnsupportedError(_Native):
    """What is not to be had here, and the fix where there is one."""

    code = "unsupported"


class NotFoundError(_Native):
    """There is no such box, image, snapshot or file."""

    code = "not_found"


class SessionReapedError(_Native):
    """The session of this call is gone."""

    code = "session_reaped"


class AlreadyExistsError(_Native):
    """There is one of this name already."""

    code = "already_exists"


class InvalidStateError(_Native):
    """The box is in a state in which this cannot be done."""

    code = "invalid_state"


class StoppedError(_Native):
    """The box has been stopped."""

    code = "stopped"


class ImageError(_Native):
    """An image cannot be read."""

    code = "image_pull_failed"


class ExecutionError(_Native):
    """The program could not be executed in the box: it is not there, no program, or its directory is missing."""

    code = "execution_failed"


class ResourceExhaustedError(_Native):
    """A limit on memory, output or CPU time was reached, and the program has been killed."""

    code = "resource_exhausted"


class NetworkError(_Native):
    """The network cannot be reached."""

    code = "network_unavailable"


class UpstreamUnavailableError(_Native):
    """Something that this depends on did not answer."""

    code = "upstream_unavailable"


class EngineError(_Native):
    """What keeps the box has failed: nothing can be said of the program."""

    code = "engine_unavailable"


class StorageError(_Native):
    """A file cannot be read or written."""

    code = "storage_error"


class DatabaseError(_Native):
    """The runtime's own data cannot be read or written."""

    code = "database_error"


class MetadataError(_Native):
    """What is known of a box cannot be read or written."""

    code = "metadata_error"


class ConfigError(_Native):
    """The runtime's configuration makes no sense."""

    code = "config_error"


class InternalError(_Native):
    """pyjail, or something outside, decided how the program ended: nothing can be said of the program."""

    code = "internal"


ResourceError = ResourceExhaustedError  # as BoxLite's pages call it


def of_files(e: OSError) -> BoxliteError:
    """The error for what a file operation raised."""
    if isinstance(e, FileNotFoundError):
        return NotFoundError(str(e))
    if isinstance(e, FileExistsError):
        return AlreadyExistsError(str(e))
    return StorageError(str(e))


def translated(e: Exception) -> BoxliteError | None:
    """The error of this module for one of pyjail's; None: it stays what it is."""
    if isinstance(e, pyjail.SpecError):
        return InvalidArgumentError(str(e))
    if isinstance(e, pyjail.HostError):
        return UnsupportedError(str(e))
    if isinstance(e, (pyjail.ExecError, pyjail.CwdNotFoundError)):
        return ExecutionError(str(e))
    if isinstance(e, (pyjail.KeeperError, pyjail.SetupError)):
        return EngineError(str(e))
    return None


@contextmanager
def ours(files: bool = False) -> Iterator[None]:
    """pyjail's errors come out of the block as those of this module; with ``files`` those of file operations, too."""
    try:
        yield
    except BoxliteError:
        raise
    except Exception as e:
        made = translated(e)
        if made is None and files and isinstance(e, OSError):
            made = of_files(e)
        if made is None:
            raise
        raise made from e
