"""What `pyjail.precheck` finds in the source of a `Job`, in jails that stay a while: `Checks`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from pyjail import Jail, precheck
from pyjail.serve.job import Job

MOST = 100  # findings of one request
SECONDS = 10.0  # for all of its sources
LATE = precheck.Construct(1, 1, "complex", "too much to check")


class Checks:
    """As many jails as checks run at once; whoever checks has a slot, so these are no more than slots."""

    def __init__(self) -> None:
        self._idle: list[precheck.Checker] = []

    async def of(self, job: Job) -> tuple[Mapping[str, Any], ...]:
        """What is found: each `precheck.Construct` as a dict, with its ``message``; of several files, its ``file``."""
        if job.check == "off":
            return ()
        checker = self._idle.pop() if self._idle else precheck.Checker(jail=Jail(strict=job.jail.strict))
        try:
            found = await _found(job, checker)
        except BaseException:
            await checker.close()
            raise
        self._idle.append(checker)
        return tuple(found[:MOST])

    async def close(self) -> None:
        """End the jails that nobody uses now."""
        idle, self._idle = self._idle, []
        for checker in idle:
            await checker.close()


async def _found(job: Job, checker: precheck.Checker) -> list[Mapping[str, Any]]:
    """For `SECONDS` at most: what has not been looked at by then is too much."""
    found: list[Mapping[str, Any]] = []
    end = time.monotonic() + SECONDS
    for name, source in _sources(job):
        late = time.monotonic() > end
        constructs = [LATE] if late else await checker.check(source)
        where = {"file": name} if name else {}
        found += [{**one.to_dict(), "message": one.message, **where} for one in constructs]
        if late or len(found) >= MOST:
            break
    return found


def _sources(job: Job) -> Iterator[tuple[str, str]]:
    if isinstance(job.source, str):
        yield "", job.source
    else:
        yield from job.source.items()
