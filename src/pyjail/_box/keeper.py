"""A box's keeper, and its slots: to a program's turn, and to a store, each is what a keeper of its own would be."""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from pyjail._core.native import lib

from pyjail._base import lazy
from pyjail._base.fds import by
from pyjail._cgroups.tree import KeeperCgroup
from pyjail._cgroups.whole import BoxCgroup
from pyjail._host.machine import Host
from pyjail._keeper.keeper import Keeper
from pyjail._keeper.shared import SharedKeeper
from pyjail._keeper.talk import REPORT_SIZE
from pyjail._plan.wire import parse_reply
from pyjail._policy.cgroup import CgroupRow

END_S = 10.0  # from the hang-up of a slot until nothing of its program is left
MOST_SLOTS = lib.PJ_MAX_SLOTS - 1
_FIRST = struct.Struct("<3I")  # of a request's memfd: its magic, the run's number, that of its leaf
_DONTWAIT = _socket.MSG_DONTWAIT


class BoxKeeper(SharedKeeper):
    """The keeper of a box: on its own socket it is asked for files and for slots."""

    cgroup: BoxCgroup
    lost = "the box's keeper died, and all that was in it: make a new one"
    full = "No space left in the box: raise Box(disk=) or Box(inodes=)"

    def __init__(self, rows: Sequence[CgroupRow], *args: Any) -> None:
        self.rows = rows
        super().__init__(*args)

    def own_cgroup(self) -> KeeperCgroup:
        return BoxCgroup(self.rows)

    @property
    def hung_up(self) -> bool:
        """Whether it has closed its end: it is dead, or about to be."""
        try:
            return self.sock.recv(1, _DONTWAIT | _socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class Slot(Keeper):
    """A place for one program in a box. Its hang-up ends that program alone."""

    def __init__(self, box: BoxKeeper, *args: Any) -> None:
        self.box, self.asked = box, 0  # the number of the last request for a program
        super().__init__(*args)

    def _start(self, host: Host, attach: Callable[[int], None] | None, meanwhile: Callable[[], object] | None) -> None:
        box = self.box
        self.ids, self.ready = box.ids, box.ready
        with contextlib.closing(self._pair()) as theirs:
            fds = (theirs.fileno(), *(fd.number for fd in self.outputs), self.request.number)
            raw, _ = box.ask(lib.OP_SLOT, fds=fds)
        self._paired()
        _, failure = parse_reply(raw)
        if failure is not None:
            if failure.errno == errno.EUSERS:
                raise OSError(errno.EUSERS, f"a box has no more than {MOST_SLOTS} programs at once")
            if failure.errno == errno.EMFILE:
                with lazy.lock:
                    from pyjail._plan.explain import NO_FDS

                raise OSError(errno.EMFILE, f"the box's keeper has no fds left: {NO_FDS}")
            raise OSError(failure.errno, os.strerror(failure.errno), "a place in the box")
        if meanwhile is not None:
            meanwhile()

    def crowded(self) -> bool:
        return self.box.cgroup.memory_was_met()

    @property
    def leaf(self) -> int | None:
        """The number of the leaf that its program lives in; when that has ended, 0, or the same: then somebody lives on
        in it. None: the keeper has not come to it yet."""
        if self.asked != self.turn:
            return 0
        with contextlib.suppress(OSError):
            raw = os.pread(self.request.number, _FIRST.size, 0)
            if len(raw) == _FIRST.size and _FIRST.unpack(raw)[:2] == (lib.PJ_STARTED_MAGIC, self.turn):
                return int(_FIRST.unpack(raw)[2])
        return None

    @property
    def alive(self) -> bool:
        return self.owner == os.getpid() and self.box.alive

    def uncovered(self) -> bool:
        """Never: a box sees what its keeper was started with."""
        return False

    def how_it_died(self) -> str:
        return "the box was closed" if self.ended else self.box.how_it_died()

    def wake(self) -> None:
        self.box.wake()

    def hang_up(self) -> None:
        """Our end only: the keeper closes its own when nothing of the program is left."""
        self.ended = True
        with contextlib.suppress(AttributeError, OSError):
            if self._linked:
                self.sock.shutdown(_socket.SHUT_WR)

    def _end(self) -> None:
        self.hang_up()
        if self.held is None:  # the keeper has never had it
            return
        self.wake()
        self._await_end(time.monotonic() + (0.0 if self.stuck else END_S))
        with contextlib.suppress(OSError):
            self.sock.shutdown(_socket.SHUT_RDWR)  # whoever sits in recv

    def _await_end(self, end: float) -> None:
        while self._linked and by(self.sock.fileno(), end):
            try:
                if not self.sock.recv(REPORT_SIZE, _DONTWAIT):
                    return
            except BlockingIOError:  # another thread has read it
                if time.monotonic() >= end:
                    return
            except OSError:
                return
