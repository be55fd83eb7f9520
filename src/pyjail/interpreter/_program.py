"""One interpreter's process, and the talk with it: one cell at a time, until it is done or the process has ended."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import signal
import socket
import termios
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyjail
from pyjail import KeeperError, Result, Verdict
from pyjail.interpreter._frames import HELLO, RUN, SETTLE, Begun, Done, Forged, Here, Reader, message
from pyjail.interpreter._heard import Heard
from pyjail.interpreter._records import Display

PIECE = 1 << 16
CLOSED = 76  # the exit code of one whose channel a cell has closed
PATIENCE = 10.0  # s: for an answer of one that has nothing else to do
NUDGE = 0.25  # s between two signals to one that may not have seen its interrupt
SOON = 1.0  # s: what ends, or answers, without doing anything else does so within that


@dataclass(frozen=True)
class End:
    """A process has ended before its cell was done: what its verdict is, why, and what the jail says."""

    verdict: Verdict
    why: str
    result: Result


class Program:
    """A process that was started by ``start``, which is `pyjail.Box.start` with all but the streams."""

    def __init__(self, start: Callable[..., pyjail.Process], greeting: bytes, most: int, most_together: int) -> None:
        ours, theirs = socket.socketpair()
        self.channel = ours
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        held: list[pyjail.Process] = []
        self._close = weakref.finalize(self, _close, ours, self.wake, held)
        self._door = threading.Lock()  # an fd that is closed may be a stranger's at once
        ours.setblocking(False)
        try:
            with theirs:
                held.append(start(stdin=theirs.fileno(), stdout=pyjail.PIPE, stderr=pyjail.PIPE))
        except BaseException:
            self._close()
            raise
        self.process = held[0]
        self._outputs = {f.fileno(): name for name, f in self._files()}
        self._poll = select.poll()
        for fd in self._outputs:
            os.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN)
        self._poll.register(self.wake, select.POLLIN)
        self._reader = Reader(most, most_together)
        self._unsent = memoryview(greeting)
        self._nonce = b""
        self._nudge_at = 0.0
        self._begun = self._signalled = False  # the cell; whether it was sent SIGINT
        self._kill_at: float | None = None  # it was to be interrupted, and is given so long
        self._end: tuple[Verdict, str] | None = None  # why we have killed it
        self.interrupts = 0  # that were asked for while this cell runs
        self.late = False  # its timeout has passed

    def _files(self) -> list[tuple[str, Any]]:
        return [("stdout", self.process.stdout), ("stderr", self.process.stderr)]

    # ---- what happens between cells ----

    def silent(self) -> bool:
        """Whether nothing has come since the last cell: else it has ended, or speaks without being asked."""
        try:
            self.channel.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self._reader.pending
        except OSError:
            pass
        return False

    def why_not_silent(self) -> End:
        """What came of it, then."""
        spoke = self._reader.pending
        with contextlib.suppress(OSError):
            spoke = spoke or bool(self.channel.recv(1, socket.MSG_PEEK))
        return self._forged("it spoke while no cell ran") if spoke else self._gone()

    def kill(self) -> None:
        """End it, with everything that it has started, and wait for that."""
        self.process.kill()
        with contextlib.suppress(pyjail.TimeoutExpired, pyjail.JailError):
            self.process.wait(SOON)
        self._shut()

    def _shut(self) -> None:
        with self._door:
            self._close()

    def interrupt(self) -> None:
        """Interrupt the cell that runs, as its timeout does. From any thread."""
        self.interrupts += 1
        with self._door:
            if self._close.alive:
                os.eventfd_write(self.wake, 1)

    # ---- a cell ----

    def greet(self, grace: float) -> End | None:
        """Wait until it answers; how it has ended, when it does not."""
        self._ask(HELLO)
        try:
            answer = self._talk(Heard(0), None, grace)
        except Forged as e:
            return self._forged(str(e))
        return None if isinstance(answer, Here) else self._gone()

    def run(self, payload: bytes, heard: Heard, deadline: float | None, grace: float) -> Done | End:
        """Run a cell: how it was done, or how the process ended. Raises KeeperError when the jail failed."""
        self._reader.begin()
        self._ask(RUN, payload)
        return self._until_done(heard, deadline, grace)

    def _ask(self, what: bytes, payload: bytes = b"") -> None:
        self._kill_at, self.interrupts, self.late = None, 0, False
        self._begun = self._signalled = False
        self._nonce = os.urandom(16)
        self._unsent = memoryview(bytes(self._unsent) + message(what, self._nonce, payload))

    def calm(self, grace: float) -> End | None:
        """A cell is not waited for any more: interrupt it; the process's end when it had to be killed."""
        end = self._until_done(Heard(0), 0.0, grace)
        return end if isinstance(end, End) else None

    def _until_done(self, heard: Heard, deadline: float | None, grace: float) -> Done | End:
        try:
            done = self._talk(heard, deadline, grace)
        except Forged as e:
            return self._forged(str(e), heard)
        if not isinstance(done, Done):
            return self._gone(heard)
        if self._signalled and not done.signalled:
            return self._settled(done) or self._forged("it does not answer", heard)
        return done

    def _talk(self, heard: Heard, deadline: float | None, grace: float) -> Done | Here | None:
        """Until the cell is done; None when the channel is closed. Raises `Forged`."""
        self._watch()
        while True:
            while (found := self._reader.next(self._nonce)) is not None:
                if isinstance(found, Begun):
                    self._begin(grace)
                elif isinstance(found, Display):
                    heard.result(found)
                else:
                    return found
            left = self._pressed(deadline, grace)
            wait = SOON if left is None else min(left, SOON)
            events = self._poll.poll(max(0, 1 + int(wait * 1000)))
            if not events and self.process.poll() is not None:  # its end of the channel is held by somebody else
                return None
            ready = {fd for fd, _ in events}
            for fd in [fd for fd in self._outputs if fd in ready]:
                self._hear(fd, heard)
            if self.wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self.wake)
            if self.channel.fileno() in ready:
                if self._unsent:
                    self._send()
                if not self._receive():
                    return None
                for fd in list(self._outputs):  # what was printed before what is told now
                    self._drain(fd, heard)

    def _watch(self) -> None:
        self._poll.register(self.channel, select.POLLIN | (select.POLLOUT if self._unsent else 0))

    def _pressed(self, deadline: float | None, grace: float) -> float | None:
        """Interrupt it, or kill it, when it is time to: for how many s to wait for the next such moment."""
        now = time.monotonic()
        if self._kill_at is None:
            if (deadline is None or now < deadline) and not self.interrupts:
                return None if deadline is None else deadline - now
            self._kill_at, self.late = now + grace, not self.interrupts
            self._signal()
        if now < self._kill_at:
            return min(self._kill_at - now, self._nudge(now))
        if self._end is None:
            verdict = Verdict.WALL_TIME if self.late else Verdict.SIGNALED
            what = "obeyed an interrupt" if self._begun else "begun a cell that was to be interrupted"
            self._end = verdict, f"it was killed: it had not {what} for {grace:g} s"
            self.process.kill()
        return None

    def _begin(self, grace: float) -> None:
        """The cell runs: it was not interrupted before, for that would have been lost."""
        if self._begun:
            raise Forged("a cell that begins twice")
        self._begun = True
        if self._kill_at is not None:
            self._kill_at = time.monotonic() + grace
            self._signal()

    def _signal(self) -> None:
        if self._begun and not self._signalled:
            self._signalled, self._nudge_at = True, time.monotonic() + NUDGE
            self.process.send_signal(signal.SIGINT)

    def _nudge(self, now: float) -> float:
        """For how many s to wait for the next one. Python looks for signals, and then waits in the kernel: one that
        comes between the two, or is another thread's, ends no waiting. SIGURG does, and means nothing."""
        if not self._signalled:
            return math.inf
        if now >= self._nudge_at:
            self._nudge_at = now + NUDGE
            self.process.send_signal(signal.SIGURG)
        return self._nudge_at - now

    def _send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                self._unsent = self._unsent[self.channel.send(self._unsent, socket.MSG_NOSIGNAL) :]
            except OSError:  # it is gone, as what is read will say
                self._unsent = memoryview(b"")
        if not self._unsent:
            self._watch()

    def _receive(self) -> bool:
        """False: the other end is closed."""
        try:
            data = self.channel.recv(4 * PIECE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._reader.feed(data)
        return bool(data)

    def _hear(self, fd: int, heard: Heard, most: int = PIECE) -> bool:
        """Whether there may be more."""
        try:
            data = os.read(fd, most)
        except BlockingIOError:
            return False
        if not data:
            self._poll.unregister(fd)
            del self._outputs[fd]
            return False
        getattr(heard, self._outputs[fd]).take(data)
        return True

    def _drain(self, fd: int, heard: Heard) -> None:
        """What is there now: somebody may go on writing for ever."""
        left = int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"), "little")
        while left > 0 and self._hear(fd, heard, min(left, PIECE)):
            left -= PIECE

    def _settled(self, done: Done) -> Done | None:
        """A signal that was sent when its cell was over must not meet the next one: wait until it has come."""
        self._nonce = os.urandom(16)
        self._unsent = memoryview(message(SETTLE, self._nonce))
        interrupts, late = self.interrupts, self.late
        self._kill_at, self.interrupts = None, 0
        try:
            answer = self._talk(Heard(0), time.monotonic() + PATIENCE, 0.0)
        except Forged:
            return None
        self.interrupts, self.late = interrupts, late
        return done if isinstance(answer, Here) and self._end is None else None

    # ---- its end ----

    def _forged(self, what: str, heard: Heard | None = None) -> End:
        self._end = self._end or (Verdict.RUNTIME_ERROR, f"forged: {what}")
        self.process.kill()
        return self._gone(heard)

    def _gone(self, heard: Heard | None = None) -> End:
        """It has ended, or closed its channel, which is the end as well."""
        try:
            self.process.wait(SOON)
        except pyjail.TimeoutExpired:
            self._end = self._end or (Verdict.RUNTIME_ERROR, "it closed its channel: it had to be killed")
            self.process.kill()
            self.process.wait()
        for fd in list(self._outputs):
            while heard is not None and self._hear(fd, heard):
                pass
        result = self.process.result
        self._shut()
        if result.verdict is Verdict.JAIL_ERROR:
            raise KeeperError(f"the interpreter's jail failed: {result.error}")
        verdict, why = self._end or (result.verdict, _why(result))
        return End(Verdict.RUNTIME_ERROR if verdict is Verdict.OK else verdict, why, result)


def _close(channel: socket.socket, wake: int, held: list[pyjail.Process]) -> None:
    """What is ours of it. A process that nobody has any more is ended by its class."""
    channel.close()
    os.close(wake)
    for process in held:
        process.close()
    held.clear()


def _why(result: Result) -> str:
    """What ended a process that nobody has killed, in words."""
    if result.verdict in (Verdict.MEMORY, Verdict.CPU_TIME, Verdict.WALL_TIME):
        name = result.verdict.value
        limit = getattr(result.limits, name)
        if name == "memory":
            return f"memory: it met its limit, {limit} bytes" if limit else "memory: its box has met its limit"
        return f"{name}: it met its limit, {limit:g} s for its whole life"
    if result.verdict is Verdict.SECURITY:
        return f"security: the filter refused {result.syscall}"
    if result.signal is not None:
        return f"signal {result.signal} ended it"
    if result.exit_code == CLOSED:
        return f"it closed its channel, and exited with {CLOSED}"
    return f"it exited with {result.exit_code}"
