"""The log: one JSON line for each request, each run, and what else has to be said. Never what users sent."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from pyjail.serve.outlet import Outlet

OURS = "pyjail.serve"
_OTHERS_LENGTH = 80  # characters of what another library says: of its own text, not of what it has filled in
_OFTEN = 10  # lines of one event in a second, of those that `Log.seldom` writes
_TOLD = frozenset({  # what uvicorn says, and we say in a line of our own
    "Invalid HTTP request received.",
    "ASGI callable returned without completing handshake.",  # of a WebSocket that was refused by an answer
})  # fmt: skip
_STDERR = 2


class Log:
    """Lines of JSON, each given to ``put``; none where it is None."""

    def __init__(self, put: Callable[[str], None] | None) -> None:
        self._put = put
        self._often: dict[tuple[str, str, str], _Often] = {}

    def line(self, event: str, level: str = "info", **about: Any) -> None:
        """One line: when, how bad, what, and what is known about it."""
        if self._put is not None:
            self._put(_text(event, level, about))

    def seldom(self, event: str, level: str = "info", **about: Any) -> None:
        """One line, unless there were many of that event, about the same ``problem``, in this second: clients can cause
        them as often as they like. The next one says how many there were."""
        often = self._often.setdefault((event, level, about.get("problem", "")), _Often())
        left_out = often.left_out()
        if left_out is not None:
            self.line(event, level, **about, **({"left_out": left_out} if left_out else {}))

    def attach(self) -> logging.Handler:
        """Have what is logged by `logging`, from warnings on, be lines of this; `detach` undoes it."""
        handler = _Handler(self)
        logging.getLogger().addHandler(handler)
        return handler


def detach(handler: logging.Handler) -> None:
    """See `Log.attach`."""
    logging.getLogger().removeHandler(handler)


def _text(event: str, level: str, about: Mapping[str, Any]) -> str:
    return json.dumps({"time": round(time.time(), 6), "level": level, "event": event, **about})


def outlet() -> Outlet:
    """To standard error, from a thread of its own."""
    return Outlet(_STDERR, lambda lines: _text("dropped", "warning", {"lines": lines}))


class _Often:
    """How often something was said of late."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._until, self._said, self._left_out = 0.0, 0, 0

    def left_out(self) -> int | None:
        """None: it is not to be said again now; else how often that was since it was said last."""
        now = time.monotonic()
        with self._lock:
            if now >= self._until:
                self._until, self._said = now + 1, 0
            self._said += 1
            if self._said > _OFTEN:
                self._left_out += 1
                return None
            left_out, self._left_out = self._left_out, 0
            return left_out


class _Handler(logging.Handler):
    """Of other libraries only their own words are taken: what they fill in may be a user's."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg in _TOLD:
            return
        ours = record.name == OURS
        text = record.getMessage() if ours else str(record.msg).partition("\n")[0][:_OTHERS_LENGTH]
        if text.startswith("Traceback"):
            text = "it failed"
        error = record.exc_info[1] if record.exc_info else None
        about = {"where": where(error)} if error is not None else {}
        self._log.seldom("log", record.levelname.lower(), logger=record.name, text=text, **about)


def where(e: BaseException) -> str:
    """What went wrong and where, without its text: that may be a user's."""
    frames = traceback.extract_tb(e.__traceback__)[-4:]
    return " < ".join([type(e).__name__, *(f"{os.path.basename(f.filename)}:{f.lineno}" for f in reversed(frames))])
