"""What is said to a keeper and what it answers: messages with numbers, over one socket. See csrc/plan.h."""

from __future__ import annotations

import _socket
import contextlib
import errno
import itertools
import os
import struct
import time

from pyjail._core.native import lib

from pyjail._base.fds import Fd, by
from pyjail._core.program import pack_head
from pyjail._plan.wire import damaged, number_of

REPORT_SIZE = 1 << 17
USED, HELD = 3, 4  # of socket, two outputs, and the request's memfd, for long ones only
KEPT_OUTPUT = 1 << 18
_STARTED = struct.Struct("<2I").pack  # what is first in the request's memfd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Gone(Exception):
    """The keeper hung up: it is dead."""


class Late(Exception):
    """Nothing came in the time given. (No TimeoutError: that may be a signal handler's own.)"""


_HANG_UP = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF)


def gone(e: OSError) -> Gone | OSError:
    """Whether the other end is gone, or it is we who lack memory: then the keeper lives, and must not be waited for."""
    return Gone() if e.errno in _HANG_UP else e


class Talk:
    """With a keeper that lives. Not thread-safe: whoever leased it has it alone."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)  # of messages: who was interrupted takes no answer for another one
        self.turn = 0  # the number of the last request
        self.contact: Any = None  # who serves what listens in its jail, until the run has ended
        self.holds = self.long = False  # a workspace; long outputs: until the run's outcome is known
        self.sock: _socket.socket
        self.request, self.outputs = Fd(), (Fd(), Fd())
        self.held: Any = None  # what of these is what, as `lib.pj_intact` has it

    def crowded(self) -> bool:
        """Whether its run shares a memory limit that all together have met."""
        return False

    def next_number(self) -> int:
        """Never 0."""
        return next(self.numbers) & 0x7FFFFFFF or next(self.numbers) & 0x7FFFFFFF

    def send(
        self,
        op: int,
        *,
        flags: int = 0,
        mode: int = 0,
        length: int = 0,
        data: bytes = b"",
        fds: tuple[int, ...] = (),
        number: int = 0,
    ) -> int:
        """Send one message: its number, the next one if none is given. `Gone` when the keeper is."""
        number = number or self.next_number()
        self._send(pack_head(op, number, flags, mode, length) + data, fds)
        return number

    def submit(self, op: int, blob: bytes, fds: tuple[int, ...] = ()) -> None:
        """Send a request: OP_ARM or OP_RUN. As `send`; `Gone`, too, when what we talk and write to is not what we
        opened any more (os.closerange takes it from us)."""
        length = len(blob)
        long = length > lib.PJ_MAX_INLINE
        if not lib.pj_intact(self.held, HELD if long else USED):
            raise Gone
        if long:
            os.pwrite(self.request.number, blob, 0)
            blob = b""
        self.turn = turn = self.next_number()
        message = pack_head(op, turn, 0, 0, length) + blob
        if fds:
            self._send(message, fds)
            return
        try:
            self.sock.send(message)
        except OSError as e:
            raise gone(e) from None

    def _send(self, message: bytes, fds: tuple[int, ...]) -> None:
        try:
            if fds:
                rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))
                self.sock.sendmsg([message], [rights])
            else:
                self.sock.send(message)
        except OSError as e:
            raise gone(e) from None

    def receive(self, kept: list[bytes], timeout: float | None = None) -> bytes:
        """What the last request came to. `Gone` at hang-up, `Late` after ``timeout`` s. It is in ``kept``, filled by C
        alone: whoever was interrupted and asks again finds it there."""
        sock = self.sock
        end = None if timeout is None else time.monotonic() + timeout
        if sock.gettimeout() is not None:
            sock.settimeout(None)
        while not kept or number_of(kept[0]) != self.turn:
            if end is not None:
                self._await(end)
            kept.clear()
            try:
                kept.extend(map(sock.recv, (REPORT_SIZE,)))
            except OSError as e:
                raise gone(e) from None
            if not kept[0]:
                kept.clear()
                raise Gone
        return kept[0]

    def _await(self, end: float) -> None:
        """Until there is a message; `Late` at that instant of time.monotonic()."""
        if not by(self.sock.fileno(), end):
            raise Late

    def ask(
        self, op: int, *, flags: int = 0, mode: int = 0, length: int = 0, data: bytes = b"", fds: tuple[int, ...] = ()
    ) -> tuple[bytes, Fd]:
        """Send one message, receive its answer and the fd that came with it, if there is one. Raises `Gone`; OSError
        EMFILE when there is no room for the fd here."""
        number = self.send(op, flags=flags, mode=mode, length=length, data=data, fds=fds)
        self.sock.settimeout(None)
        return self.answer(number)

    def answer(self, number: int) -> tuple[bytes, Fd]:
        """The answer to this message, and its fd; as `ask`. Those that nobody waits for any more are dropped."""
        while True:
            raw, opened, no_room = self.message()
            if number_of(raw) != number:
                opened.close()
            elif no_room:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            else:
                return raw, opened

    def message(self) -> tuple[bytes, Fd, bool]:
        """The next message, its fd, whether there is no room for that here."""
        opened = Fd()
        try:
            raw, no_room = opened.receive(self.sock, REPORT_SIZE)
        except BlockingIOError:
            raise
        except OSError as e:
            raise gone(e) from None
        if not raw:
            raise Gone
        return raw, opened, no_room

    def output(self, stream: int, length: int) -> bytes:
        """The captured bytes of the last run."""
        if not length:
            return b""
        fd = self.outputs[stream].number
        if length > KEPT_OUTPUT and length > os.fstat(fd).st_size:
            raise damaged(f"{length} bytes of output")
        data = os.pread(fd, length, 0)
        while len(data) < length:  # pread(2) transfers 2 GiB at most
            more = os.pread(fd, length - len(data), len(data))
            if not more:
                break
            data += more
        if length > KEPT_OUTPUT:
            self.long = True
        return data

    def let_go(self) -> None:
        """Of what the last run has left for who asked for it: its workspace, and memory that long outputs take."""
        if self.holds:
            self.holds = False
            with contextlib.suppress(Gone):
                self.send(lib.OP_RELEASE)
        if self.long:
            self.long = False
            for fd in self.outputs:
                if fd.ours:
                    os.ftruncate(fd.number, 0)  # the next run starts at 0 anyway

    def hush(self) -> None:
        """Have nobody serve what listens in its jail any more."""
        if self.contact is not None:
            self.contact.drop()  # first: who is interrupted here does it again
            self.contact = None

    @property
    def started(self) -> bool:
        """Whether the last request got as far as its go; False means that no program ever ran."""
        with contextlib.suppress(OSError):
            if not self.request.ours:
                return True
            return os.pread(self.request.number, 8, 0) == _STARTED(lib.PJ_STARTED_MAGIC, self.turn)
        return True  # closed under us: it may have
