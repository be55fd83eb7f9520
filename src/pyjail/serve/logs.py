"""The log: one JSON line for each request, each run, and what else has to be said. Never what users sent."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from typing import IO, Any

OURS = "pyjail.serve"
_OTHERS_LENGTH = 80  # characters of what another library says: of its own text, not of what it has filled in


class Log:
    """Lines of JSON to ``stream``; none where it is None."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream

    def line(self, event: str, level: str = "info", **about: Any) -> None:
        """One line: when, how bad, what, and what is known about it."""
        if self._stream is None:
            return
        said = json.dumps({"time": round(time.time(), 6), "level": level, "event": event, **about})
        try:
            self._stream.write(said + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # who reads it is gone; the service is not
            self._stream = None

    def attach(self) -> logging.Handler:
        """Have what is logged by `logging`, from warnings on, be lines of this; `detach` undoes it."""
        handler = _Handler(self)
        logging.getLogger().addHandler(handler)
        return handler


def detach(handler: logging.Handler) -> None:
    """See `Log.attach`."""
    logging.getLogger().removeHandler(handler)


def stderr(wanted: bool) -> Log:
    """To standard error, where it is wanted."""
    return Log(sys.stderr if wanted else None)


class _Handler(logging.Handler):
    """Of other libraries only their own words are taken: what they fill in may be a user's."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.name == OURS
        text = record.getMessage() if ours else str(record.msg).partition("\n")[0][:_OTHERS_LENGTH]
        if text.startswith("Traceback"):
            text = "it failed"
        error = record.exc_info[1] if record.exc_info else None
        about = {"where": where(error)} if error is not None else {}
        self._log.line("log", record.levelname.lower(), logger=record.name, text=text, **about)


def where(e: BaseException) -> str:
    """What went wrong and where, without its text: that may be a user's."""
    frames = traceback.extract_tb(e.__traceback__)[-4:]
    return " < ".join([type(e).__name__, *(f"{os.path.basename(f.filename)}:{f.lineno}" for f in reversed(frames))])
