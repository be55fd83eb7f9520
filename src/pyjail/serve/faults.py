"""What of a failure is the request's own fault, and how that is told."""

from __future__ import annotations

import errno
import os

from pyjail import ExecError, HostError, SetupError
from pyjail.serve.problem import Problem

_NO_PLACE = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
MOST_FAULT = 300  # characters of what a request called its program


def fault(e: SetupError) -> str:
    """Why the program could not be started, where that is its own fault. Raises `Problem` 422 where the request names
    what is not there or does not fit, and else what it was."""
    why = os.strerror(e.errno or 0)
    if isinstance(e, ExecError):
        return f"{_short(e.detail)}: {why}"
    if e.step == "cwd":
        raise Problem(422, "field", f"{e.detail}: {why}", field="cwd") from None
    if e.step == "open" and e.detail.startswith("files["):
        raise no_room(f"files.{e.detail[6:-1].strip(chr(39) + chr(34))}", e) from None
    raise e


def _short(text: str) -> str:
    return text if len(text) <= MOST_FAULT else f"{text[:MOST_FAULT]}..."


def no_room(field: str, e: OSError) -> Problem:
    """422 for a file that cannot be written there, or does not fit. Raises what it was where it is another's fault."""
    if e.errno in _NO_PLACE:
        return Problem(422, "field", f"it cannot be written there: {os.strerror(e.errno or 0)}", field=field)
    if e.errno not in (errno.ENOSPC, errno.EFBIG):
        raise e
    return Problem(422, "field", "it does not fit into /box", field=field, hint="raise limits.disk or limits.inodes")


def missing(e: HostError, language: str, field: str = "language") -> Exception:
    """`Problem` 422 where the language's tools are what this machine lacks; else what it was."""
    if e.control != "language":
        return e
    return Problem(422, "language", f"{language} is not installed here", field=field)
