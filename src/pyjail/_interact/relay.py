"""One edge of an interaction at work: bytes from its writer's pipe to its reader's, with a transcript.

Our ends never block. Between the two pipes at most `ROOM` bytes wait here: a reader that does not read stops its
writer, as one pipe would. A named pipe that its party has not opened yet looks like one without the
other side, so `awaited` says whether that side is yet to come.
"""

from __future__ import annotations

import contextlib
import os
import select

from pyjail._base.fds import Fd
from pyjail._interact.interaction import Flow
from pyjail._interact.parties import Edge

ROOM = 1 << 16
LITTLE, SMALL_AT_ONCE, REST_S = 4096, 16, 0.001  # who writes byte by byte, and hears nothing back, is read every ms
MOST_READS = 256
MOST_PIECES = 100_000


def ready(fd: int, events: int) -> int:
    """What poll(2) says of it now."""
    poller = select.poll()
    poller.register(fd, events)
    return next((found for _, found in poller.poll(0)), 0)


class Relay:
    """``source``, ``target``: our ends, or -1 when they are closed; owned by this. Times are s since the start."""

    def __init__(self, edge: Edge, source: Fd, target: Fd, named: tuple[bool, bool], cap: int | None) -> None:
        self.edge, self.cap = edge, cap
        self.ends = source, target
        self.source, self.target = source.number, target.number
        self.source_awaited, self.target_awaited = named
        self.waiting = bytearray()
        self.pieces: list[tuple[float, bytes]] = []
        self.kept = self.written = self.delivered = 0
        self.small = 0  # reads of a few bytes, one after the other
        self.rests_until = 0.0  # the source
        self.cut = False  # the source was closed to a writer, for want of a reader
        self.over = False  # all are being killed: who closes now does not by itself
        self.closed_by: str | None = None
        self.closed_at: float | None = None
        self.files = tuple((s.st_dev, s.st_ino) for s in map(os.fstat, (self.source, self.target)))
        for fd in (self.source, self.target):
            os.set_blocking(fd, False)

    def wants(self, now: float) -> list[tuple[int, int]]:
        """(fd, events) to poll for. With no events, poll still tells that the other side is gone."""
        found = []
        reads = self.source >= 0 and len(self.waiting) < ROOM and not (self.target < 0 and self._keeps_source())
        if reads and now >= self.rests_until:
            found.append((self.source, select.POLLIN))
        if self.target >= 0 and not self.target_awaited:
            found.append((self.target, select.POLLOUT if self.waiting else 0))
        return found

    def needs_a_look(self) -> bool:
        """Whether somebody opens a named pipe is not told by poll: look again, soon."""
        return (self.target >= 0 and self.target_awaited) or (
            self.source >= 0 and self.target < 0 and self._keeps_source()
        )

    def _keeps_source(self) -> bool:
        """Nobody reads any more, but who opens the other side later must find one: else its open would never end."""
        return self.source_awaited and bool(self.edge.sigpipe)

    def look(self) -> None:
        """See whether the parties have opened their named pipes."""
        if self.target >= 0 and self.target_awaited and not ready(self.target, select.POLLOUT) & select.POLLERR:
            self.target_awaited = False
        if self.source >= 0 and self.target < 0 and self._keeps_source() and self._has_writer():
            self.source_awaited = False
            self.cut = not self.over
            self._close_source()

    def _has_writer(self) -> bool:
        with contextlib.suppress(OSError):  # after this poll tells of no writers, even when there never was one
            os.close(os.open(f"/proc/self/fd/{self.source}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        return not ready(self.source, select.POLLIN) & select.POLLHUP

    def is_dry(self, reader: str) -> bool:
        """Whether this reader would wait for something to read."""
        return self.edge.reader == reader and self.target >= 0 and not self.waiting

    def is_full(self, writer: str) -> bool:
        """Whether this writer would wait for room."""
        return self.edge.writer == writer and self.source >= 0 and len(self.waiting) >= ROOM

    def pull(self, now: float) -> bool:
        """Read what the writer has written, as far as there is room. True: it has closed its end."""
        room = ROOM - len(self.waiting)
        if self.source < 0 or not room or (self.source_awaited and not ready(self.source, select.POLLIN)):
            return False
        self.source_awaited = False
        data, end = self._read(room)
        if data:
            self._note(data, now)
            if self.target >= 0:
                self.waiting += data
        self.small = self.small + 1 if len(data) < LITTLE else 0
        if self.small > SMALL_AT_ONCE:
            self.rests_until = now + REST_S
        if end:
            self._close_source()
            self._ended(self.edge.writer, now)
        return end

    def _read(self, room: int) -> tuple[bytes, bool]:
        """(what is there, whether it is the end). With O_DIRECT, which the writer may set, a read is of one write."""
        parts: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            for _ in range(MOST_READS):
                data = os.read(self.source, room)
                if not data:
                    return b"".join(parts), True
                parts.append(data)
                room -= len(data)
                if not room:
                    break
        return b"".join(parts), False

    def push(self, now: float) -> bool:
        """Write what waits. True: the reader is gone."""
        try:
            while self.waiting and self.target >= 0 and not self.target_awaited:
                n = os.write(self.target, self.waiting)
                del self.waiting[:n]
                self.delivered += n
        except BlockingIOError:
            return False
        except BrokenPipeError:
            self.no_reader(now)
            return True
        return False

    def finish(self) -> None:
        """All is delivered, and no more will come: the reader sees the end."""
        if self.source < 0 and self.target >= 0 and not self.waiting and not self.over:
            self._close_target()

    def no_reader(self, now: float) -> None:
        """The reader closed its end, or has ended: tell the writer, if that is wanted."""
        if self.target >= 0:
            self._close_target()
            self._ended(self.edge.reader, now)
        self.waiting.clear()
        if self.source >= 0 and self.edge.sigpipe:
            self.pull(now)  # what was written until now belongs to the transcript
            if not self._keeps_source():
                self.cut = self.source >= 0 and not self.over
                self._close_source()

    def writer_ended(self) -> None:
        """A named pipe that it never opened will not tell of an end."""
        if self.source >= 0 and self.source_awaited and not ready(self.source, select.POLLIN):
            self._close_source()

    def _close_source(self) -> None:
        self.source = -1
        self.ends[0].close()

    def _close_target(self) -> None:
        self.target = -1
        self.ends[1].close()

    def _ended(self, party: str, now: float) -> None:
        if self.closed_by is None and not self.over:
            self.closed_by, self.closed_at = party, now

    def _note(self, data: bytes, now: float) -> None:
        self.written += len(data)
        if len(self.pieces) < MOST_PIECES:
            kept = data if self.cap is None else data[: self.cap - self.kept]
            if kept:
                self.kept += len(kept)
                self.pieces.append((now, kept))

    def flow(self) -> Flow:
        """What went through."""
        return Flow(
            self.edge,
            tuple(self.pieces),
            self.kept < self.written,
            self.written,
            self.delivered,
            self.closed_by,
            self.closed_at,
        )

    def close(self) -> None:
        """Both ends. May be called twice."""
        self._close_source()
        self._close_target()
