"""How `Contacts` pass between the proxy and its embedder: in packets of a Unix socket."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pyjail._base.records import names
from pyjail._result.contact import Contact, Contacts

MOST = 1 << 16  # bytes: buffers that are larger cost a run more than what they are for
_PART = 1 << 14  # bytes of rows, and one more row
_NOTHING = b'{"rows": [], "omitted": 0, "last": true}'


def packets(report: Contacts) -> Iterator[bytes]:
    """A report as packets, none of which is too large for one."""
    if report == Contacts():
        yield _NOTHING
        return
    part: list[str] = []
    size = 0
    for row in report.rows:
        part.append(json.dumps([getattr(row, name) for name in names(row)]))
        size += len(part[-1])
        if size > _PART:
            yield _packet(part, report.omitted, False)
            part, size = [], 0
    yield _packet(part, report.omitted, True)


def _packet(rows: list[str], omitted: int, last: bool) -> bytes:
    return f'{{"rows": [{", ".join(rows)}], "omitted": {omitted}, "last": {json.dumps(last)}}}'.encode()


def rows(packet: bytes) -> tuple[list[Contact], int, bool]:
    """(rows, how many were omitted, whether this is the last packet)."""
    found = json.loads(packet)
    return [Contact(*row) for row in found["rows"]], found["omitted"], found["last"]
