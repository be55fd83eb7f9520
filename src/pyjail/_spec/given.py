"""What a caller gives for the streams of a program, and for their text: checked, and refused in words."""

from __future__ import annotations

import codecs
import fcntl
import os
import stat

from pyjail._base import lazy
from pyjail._base.errors import SpecError
from pyjail._spec.jail import (
    CAPTURED,
    DEVNULL,
    GIVEN,
    MERGED,
    NULL,
    PIPE,
    STDOUT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def text_mode(text: Any, universal_newlines: Any, capture_output: Any, stdout: Any, stderr: Any) -> bool:
    """Whether text is wanted, in `subprocess`'s other words; SpecError where they mean what is not done here."""
    if capture_output is not None:
        if capture_output is not True:
            why = "both are captured, and nothing is inherited: stdout= and stderr= take a file, or pyjail.DEVNULL"
            raise SpecError("capture_output", capture_output, why)
        if stdout is not None or stderr is not None:
            raise SpecError("capture_output", True, "cannot be given together with stdout or stderr")
    if universal_newlines is not None and not isinstance(universal_newlines, bool):
        raise SpecError("universal_newlines", universal_newlines, "True or False is needed, as for text")
    return bool(text or universal_newlines)


def check_codec(encoding: Any, errors: Any) -> None:
    """SpecError unless there are such a codec and such a handler of errors."""
    for field, value in (("encoding", encoding), ("errors", errors)):
        if not isinstance(value, str):
            raise SpecError(field, value, "a codec's name is needed")
    try:
        codecs.lookup_error(errors)
        with lazy.lock:  # encodings.NAME is imported
            b"".decode(encoding, errors)
            "".encode(encoding)
    except (LookupError, ValueError) as e:
        raise SpecError("encoding", (encoding, errors), str(e)) from None


def streams(input: Any, stdin: Any, stdout: Any, stderr: Any) -> tuple[tuple[str, str, str], tuple[int, ...]]:
    """(what each stream is, the caller's fds in order)."""
    if input is not None and stdin is not None:
        raise SpecError("stdin", stdin, "cannot be given together with input")
    modes, fds = [], []
    for name, value, default in (
        ("stdin", stdin, NULL),
        ("stdout", stdout, CAPTURED),
        ("stderr", stderr, CAPTURED),
    ):
        if value is None or (value == PIPE and isinstance(value, int) and name != "stdin"):
            modes.append(default)
        elif isinstance(value, int) and value == DEVNULL:
            modes.append(NULL)
        elif isinstance(value, int) and value == STDOUT and name == "stderr":
            modes.append(MERGED)
        else:
            modes.append(GIVEN)
            fds.append(_fd(name, value))
    return (modes[0], modes[1], modes[2]), tuple(fds)


def _fd(name: str, value: Any) -> int:
    """The caller's fd. A directory, or an O_PATH fd, would be a door out of the jail."""
    try:
        fd = value if isinstance(value, int) and not isinstance(value, bool) else value.fileno()
    except (AttributeError, OSError, ValueError):
        raise SpecError(name, value, "a file or an open fd is needed") from None
    if not isinstance(fd, int) or fd < 0:
        raise SpecError(name, value, "a file or an open fd is needed")
    try:
        mode = os.fstat(fd).st_mode
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    except (OSError, OverflowError):
        raise SpecError(name, value, "this fd is not open") from None
    if stat.S_ISDIR(mode) or stat.S_ISLNK(mode) or flags & os.O_PATH:
        raise SpecError(name, value, "a directory's fd would let the program out of its root")
    if stat.S_ISCHR(mode) and os.isatty(fd):
        with lazy.lock:
            from pyjail._spec.terminal import Terminal

        if not isinstance(value, Terminal):  # whichever way it was opened: TCSETS asks for no right to read or write
            raise SpecError(name, value, _TERMINAL)
    return fd


_TERMINAL = (
    "this is a terminal: the program could read what is typed there, and switch off echo and ^C. "
    "Capture it and print what comes, or hand it over by pyjail.Terminal(...)"
)
