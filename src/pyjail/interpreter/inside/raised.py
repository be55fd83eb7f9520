"""What an exception says, without our own frames."""

from __future__ import annotations

import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OURS = "<pyjail "  # what the names of our files begin with
MOST_VALUE, MOST_TRACEBACK = 1 << 16, 1 << 18  # characters


def described(error: BaseException) -> dict[str, str]:
    """Its class's name, its text, and the traceback as Python prints it."""
    try:
        value = str(error)
    except BaseException as lie:
        value = f"<its __str__ raised {type(lie).__name__}>"
    try:
        told = traceback.TracebackException.from_exception(error)
        _clean(told, set())
        text = "".join(told.format())
    except BaseException as failed:  # an exception of its own kind
        text = f"{type(error).__name__}: {value}\n(no traceback: {type(failed).__name__})\n"
    name = str(type(error).__name__)[:1000]
    return {"name": name, "value": cut(value, MOST_VALUE), "traceback": cut(text, MOST_TRACEBACK)}


def cut(text: str, most: int) -> str:
    """Its beginning and its end, when it is longer; what is between is told by its length."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters are cut here ...\n{text[-half:]}"


def _clean(told: Any, seen: set[int]) -> None:
    if told is None or id(told) in seen:
        return
    seen.add(id(told))
    told.stack[:] = [frame for frame in told.stack if not frame.filename.startswith(OURS)]
    _clean(told.__cause__, seen)
    _clean(told.__context__, seen)
    for one in getattr(told, "exceptions", None) or ():
        _clean(one, seen)
