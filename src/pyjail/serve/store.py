"""Runs that are fetched later, and what keeps them: `Store`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pyjail.serve.config import Jobs
from pyjail.serve.problem import Problem

ENDED = frozenset(("done", "cancelled", "lost"))
_NAMED = re.compile(r'"sha256": ?"([0-9a-f]{64})"')


@dataclass(frozen=True)
class Record:
    """A run that somebody will ask for.

    Attributes:
        id: 32 hex digits. tenant: whose it is. spec: what is asked for, in types of JSON: {"kind": "run", "body": ...};
            with "awaited": true, whose client learns the id with the result. Neither of these is waited for to be on
            the disk: that is so within a minute.
        state: "queued", "running", "done", "cancelled" or "lost". result: of JSON, when it is done. reason: why it is
            lost. attempts: how often it was claimed. created, ended, expires: seconds since the epoch; 0: not yet.
    """

    id: str
    tenant: str
    spec: Mapping[str, Any]
    state: str = "queued"
    result: Mapping[str, Any] | None = None
    reason: str = ""
    attempts: int = 0
    created: float = 0.0
    ended: float = 0.0
    expires: float = 0.0

    @property
    def sure(self) -> bool:
        """Whether its coming and its end are to outlast the machine's power before anybody is told."""
        return not self.spec.get("awaited")


class Store(Protocol):
    """Keeps records; whoever claims one does it at least once. Raises `Problem` 507 or 503 where there is no room."""

    async def submit(self, record: Record, key: str = "", digest: str = "") -> tuple[Record, bool]:
        """Keep it: (what is kept, True). The tenant has used this ``key`` before: the record of then and False; or
        `Problem` 422 where the ``digest`` of what was asked is another one."""

    async def claim(self, worker: str) -> Record | None:
        """The one that waits longest, now running and the worker's for the time of a lease; None: none waits. Those of
        dead workers wait again, or are lost when that has happened too often."""

    async def beat(self, id: str, worker: str) -> bool:
        """Begin the lease anew. False: it is not this worker's any more (cancelled, or thought dead)."""

    async def finish(self, id: str, worker: str, result: Mapping[str, Any], sure: bool = True) -> bool:
        """Done, with this result. False as `beat`: the result is thrown away. ``sure``: see `Record`."""

    async def release(self, id: str, worker: str) -> bool:
        """Let it wait again, as if it had not been claimed: this worker is about to end. False as `beat`."""

    async def get(self, id: str, tenant: str) -> Record | None:
        """None: there is none, or it is another tenant's."""

    async def listed(self, tenant: str, kind: str, skip: int, most: int) -> tuple[list[str], int]:
        """Ids of this tenant's whose spec has this ``kind``, the newest first, at most so many of them after so many
        others; and how many there are in all."""

    async def cancel(self, id: str, tenant: str) -> Record | None:
        """Cancelled, unless it has ended: the record then. None as `get`."""

    async def named(self) -> dict[str, set[str]]:
        """Digests of files that runs name which have not ended, of each tenant; perhaps others besides."""

    async def drop(self, id: str, tenant: str) -> bool:
        """Keep it no more, if it has ended. False: it has not; or as None of `get`."""

    async def expire(self) -> int:
        """Drop those whose time is over: how many. All else is on the disk then."""

    async def close(self) -> None:
        """Nothing else is called afterwards."""


def beginning(kind: str) -> str:
    """Of specs of this kind as JSON without spaces, up to their first comma."""
    return json.dumps({"kind": kind}, separators=(",", ":"))[:-1]


def named(specs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Of (tenant, spec as JSON): the digests that are named there as those of files."""
    found: dict[str, set[str]] = {}
    for tenant, spec in specs:
        if digests := _NAMED.findall(spec):
            found.setdefault(tenant, set()).update(digests)
    return found


def over_quota(jobs: Jobs) -> Problem:
    """What a tenant is told who keeps too much."""
    why = f"at most {jobs.total} bytes of runs are kept for one tenant"
    return Problem(507, "quota", why, hint="send files once, to /v1/files", retry=60)
