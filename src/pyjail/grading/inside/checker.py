"""The checker's side: run the trusted tests against the proxy, and report over an fd that only this jail has.

The job is a file of this jail, in the encoding of `encoding`: a dict with "kind" and what its kind needs. Reports are
messages over stderr, which is moved away before the tests begin: one per case, and one last that tells how it ended.
"""

from __future__ import annotations

import sys

from .encoding import decode
from .frames import take
from .proxy import Channel
from .report import Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn


def runner(kind: str) -> Callable[[dict[str, Any], Channel, Reporter], None]:
    """What does a job of this kind; imported when it is needed, for unittest costs as much as all the rest."""
    if kind == "problem":
        from .problem import run
    elif kind == "cases":
        from .cases import run
    else:
        from .files import run
    return run


def main(job: str) -> NoReturn:
    """Do the job in this file of this jail."""
    answers, requests, reporter = take(0), take(1), Reporter(take(2))
    sys.stdout = sys.stderr = reporter
    with open(job, "rb") as f:
        task = decode(f.read())
    try:
        runner(task["kind"])(task, Channel(answers, requests, reporter.finish), reporter)
    except BaseException as e:
        reporter.finish("failed", f"{type(e).__name__}: {e}")
    reporter.finish("passed")
