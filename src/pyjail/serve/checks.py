"""What `pyjail.precheck` finds in the source of a `Job`, in jails that stay a while: `Checks`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyjail import Jail, precheck
from pyjail.serve.job import Job


class Checks:
    """As many jails as checks run at once; whoever checks has a slot, so these are no more than slots."""

    def __init__(self) -> None:
        self._idle: list[precheck.Checker] = []

    async def of(self, job: Job) -> tuple[Mapping[str, Any], ...]:
        """What is found: each `precheck.Construct` as a dict, with its ``message``; of several files, its ``file``."""
        if job.check == "off":
            return ()
        checker = self._idle.pop() if self._idle else precheck.Checker(jail=Jail(strict=job.jail.strict))
        found: list[Mapping[str, Any]] = []
        try:
            for name, source in _sources(job):
                where = {"file": name} if name else {}
                constructs = await checker.check(source)
                found += [{**one.to_dict(), "message": one.message, **where} for one in constructs]
        except BaseException:
            await checker.close()
            raise
        self._idle.append(checker)
        return tuple(found)

    async def close(self) -> None:
        """End the jails that nobody uses now."""
        idle, self._idle = self._idle, []
        for checker in idle:
            await checker.close()


def _sources(job: Job) -> Iterator[tuple[str, str]]:
    if isinstance(job.source, str):
        yield "", job.source
    else:
        yield from job.source.items()
