"""What a keeper tells when a run has ended, as facts: loaded while one is being born."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from operator import sub

from pyjail._core.native import ffi, lib

from pyjail._base.records import once
from pyjail._plan.wire import (
    U64,
    Failure,
    damaged,
    failure_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TRIPS = {n: name.removeprefix("TRIP_").lower() for n, name in ffi.typeof("enum pj_trip").elements.items()}
# struct pj_facts as far as `used`, and from there as far as `space`
FACTS, MORE = struct.Struct("<4I2i6Ii5I10Q"), struct.Struct("<37Q")
_SPACE = struct.Struct("<7Q64x")  # struct statfs
_SPACE_AT = FACTS.size + MORE.size
_TEXT = struct.Struct("<IIiI")  # struct pj_text
SIZE = _SPACE_AT + lib.PJ_MAX_TMPFS * _SPACE.size


def records(texts: bytes, at: int = 0) -> Iterator[tuple[int, int, int, bytes]]:
    """(kind, row, errno, data) of each record from offset ``at`` on."""
    end = len(texts)
    unpack, head = _TEXT.unpack_from, _TEXT.size
    while at < end:
        if at + head > end:
            raise damaged("half a record")
        kind, row, failed, length = unpack(texts, at)
        at += head
        if length > end - at:
            raise damaged(f"a record of {length} bytes in {end - at}")
        yield kind, row, failed, texts[at : at + length]
        at += -(-length // 8) * 8


class Facts:
    """Raw kernel numbers of a finished run; without a report, of one that had no program. Texts are what the kernel's
    files said, by row."""

    failure: Failure | None = None
    status: int | None = None
    executed = False
    trip = "none"
    was_armed = False
    plain = False  # all of the leaf's files could be read, and none that counts what went wrong has a count
    network = True  # it may have used a network namespace of its own: the next run has another one
    left = False  # a process could not be killed
    syscall = 0
    arch = 0
    reads_at = 0  # where the first of `reads` is
    requested = started = ended = reported = 0
    exec_cpu = 0
    cpu: int | None = None  # ns on the leaf's clock
    out_total: tuple[int, int] = (0, 0)
    out_kept: tuple[int, int] = (0, 0)
    tmpfs_count = 0
    raw = b""
    reading: Any = None  # `verdict.Reading` of this, once somebody has looked

    @once
    def _more(self) -> tuple[int, ...]:
        return MORE.unpack_from(self.raw, FACTS.size) if self.raw else (0,) * 37

    @once
    def rusage(self) -> tuple[int, ...]:
        """user µs, system µs, page faults minor, major, switches voluntary, involuntary."""
        now, before = self._more[:18], self._more[18:36]
        user, more, system, rest, *_, minor, major, _, _, _, _, _, _, voluntary, involuntary = map(sub, now, before)
        return user * 1_000_000 + more, system * 1_000_000 + rest, minor, major, voluntary, involuntary

    @property
    def image(self) -> int:
        """bytes of the program's segments."""
        return self._more[36]

    @property
    def tmpfs(self) -> tuple[tuple[int, int, int, int], ...]:
        """(bytes, bytes free, inodes, inodes free) of each."""
        found = []
        for at in range(_SPACE_AT, _SPACE_AT + self.tmpfs_count * _SPACE.size, _SPACE.size):
            _, block, blocks, _, free, inodes, inodes_free = _SPACE.unpack_from(self.raw, at)
            found.append((blocks * block, free * block, inodes, inodes_free))
        return tuple(found)

    @property
    def texts(self) -> bytes:
        """All records, for `texts.parse_texts`."""
        return self.raw[SIZE:]

    @once
    def reads(self) -> dict[int, str]:
        """CGROUP_READ, watch and clock rows, by index."""
        return _texts(self.raw, SIZE + self.reads_at)

    @property
    def unread(self) -> dict[int, int]:
        """errno of such rows whose file could not be read, or not as a whole (EFBIG)."""
        return {row: failed for _, row, failed, _ in records(self.texts, self.reads_at) if failed}

    @once
    def before(self) -> dict[int, str]:
        """Those that only count up: what they said before this run."""
        return _texts(self.raw, SIZE, lib.TEXT_BASE)


def _texts(raw: bytes, at: int, only: int | None = None) -> dict[int, str]:
    """The data of the records from there on, by row, as far as they are of that kind. As `records`, which is a call for
    each: whoever looks at a run looks at all of them."""
    found, unpack, head, end = {}, _TEXT.unpack_from, _TEXT.size, len(raw)
    while at < end:
        if at + head > end:
            raise damaged("half a record")
        kind, row, failed, length = unpack(raw, at)
        if only is not None and kind != only:
            break
        at += head
        if length > end - at:
            raise damaged(f"a record of {length} bytes in {end - at}")
        if not failed:
            found[row] = raw[at : at + length].decode("latin-1")
        at += (length + 7) & ~7
    return found


def not_started(failure: Failure) -> Facts:
    """The facts of a run that failed before there was a program."""
    facts = Facts()
    facts.failure = failure
    return facts


def parse_report(raw: bytes) -> Facts:
    """A REPLY_REPORT message. What no verdict rests on is unpacked when somebody looks at it."""
    facts = Facts()
    facts.raw = raw
    if len(raw) < SIZE:
        raise damaged(f"a report of {len(raw)} bytes")
    (
        _, _, step, index, err, status, executing, trip, armed, text_len, facts.tmpfs_count, left, facts.syscall,
        facts.arch, facts.reads_at, plain, network, _, facts.requested, facts.started, facts.ended, facts.reported,
        facts.exec_cpu, cpu, out, more, kept, more_kept,
    ) = FACTS.unpack_from(raw)  # fmt: skip
    if len(raw) != SIZE + text_len:
        raise damaged(f"a report of {len(raw)} bytes where {SIZE + text_len} were due")
    # The one check: whatever is looked at later is there. (`records` checks each record as it comes to it.)
    if trip not in TRIPS or facts.tmpfs_count > lib.PJ_MAX_TMPFS or facts.reads_at > text_len:
        raise damaged(f"trip {trip}, {facts.tmpfs_count} tmpfs, texts at {facts.reads_at} of {text_len}")
    if kept > out or more_kept > more:
        raise damaged(f"{kept} and {more_kept} bytes kept of {out} and {more}")
    if step:
        facts.failure = failure_of(step, index, err)
    if facts.ended:
        facts.status = status
    facts.executed = executing != 0
    facts.trip = TRIPS[trip]
    facts.was_armed = armed != 0
    facts.plain = plain != 0
    facts.network = network != 0
    facts.left = left != 0
    if cpu != U64:
        facts.cpu = cpu
    facts.out_total, facts.out_kept = (out, more), (kept, more_kept)
    return facts
