"""One keeper process, from its birth to its end. See csrc/README.md for its side of the contract.

Our child is the keeper's guard, which waits for it outside of its pid namespace and ends when nothing in there is left.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import signal
import threading
import weakref
from collections.abc import Callable

from pyjail._core.native import ffi, lib

from pyjail._base import lazy
from pyjail._base.errors import JailError, KeeperError
from pyjail._base.fds import Fd, fill, identity, itself, memfd, readable
from pyjail._cgroups.tree import KeeperCgroup
from pyjail._core import program
from pyjail._host import machine
from pyjail._host.machine import Host
from pyjail._keeper.talk import REPORT_SIZE, Gone, Talk
from pyjail._plan.compile import RunLimits, Template
from pyjail._plan.wire import STEPS, Failure, pack_template, parse_reply

HANDSHAKE_S = 30.0
_SEQPACKET = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC


# Of one who leases keepers: those that he got. With `Keeper.lease` it tells whether one is his still.
Lease = list["Keeper"]


class Keeper(Talk):
    """A live keeper with its template prepared. Not thread-safe: whoever leased it has it alone.
    ``attach(pid)`` is called before its go, and so before it becomes not dumpable (see `_learn.ptrace`).
    ``meanwhile()`` is called while it prepares the jail."""

    def __init__(
        self,
        template: Template,
        host: Host,
        attach: Callable[[int], None] | None = None,
        book: Callable[[Keeper], None] | None = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self.template = template
        self.above = host.above
        self.owner = os.getpid()
        self.armed: RunLimits | None = None
        self.served = False  # has had a run
        self.stuck = False  # a process of its last run cannot be killed: its own end is not waited for
        self.watched = False  # an event loop has our socket in its set: nobody else may close it there
        self.hidden = machine.identities(template.seen.hidden, None)
        self.idle_since = 0.0  # time.monotonic() of its return
        self.pair: list[tuple[_socket.socket, _socket.socket]] = []
        self.sock_identity: tuple[int, int] | None = None
        self.pid = -1
        self.pidfd = Fd()
        self.tree = Fd()  # while it is open nobody removes the image that is the jail's root
        self.spawned = ffi.new("int *", -1)  # its pidfd, there even when a signal handler raises as soon as C returns
        self.cgroup = self.own_cgroup()
        self.ended = False  # by us: `Idle.close`, an error
        self.closing = threading.RLock()  # the collector may end what it finds while this very thread holds it
        self.lease: Lease | None = None  # whose it is now: `Idle`
        _all.add(self)  # before it has any fd: a child that is forked from now on closes its copies
        try:
            self._start(host, attach, meanwhile)
            if book is not None:  # before anybody can be interrupted with it in hand
                book(self)
        except BaseException:
            to_end[self] = self.close
            self.close()
            to_end.pop(self, None)
            raise

    def own_cgroup(self) -> KeeperCgroup:
        """Where it and its runs are to live."""
        return KeeperCgroup()

    def _pair(self) -> _socket.socket:
        """The keeper's end of a new socket, and the memfds that we share with it."""
        with lazy.lock:  # no child has them, and nobody who knows
            self.pair.extend(map(_socket.socketpair, (_socket.AF_UNIX,), (_SEQPACKET,)))
        ((self.sock, theirs),) = self.pair
        self.sock_identity = identity(self.sock.fileno())
        self.outputs = (memfd("pyjail-stdout"), memfd("pyjail-stderr"))
        self.request = memfd("pyjail-request")
        return theirs

    def _paired(self) -> None:
        """The keeper has its end."""
        self.pair.clear()
        for fd in self._kept:
            fd.remember()
        numbers = (self.sock.fileno(), *(fd.number for fd in self.outputs), self.request.number)
        self.held = ffi.new("uint64_t[][3]", [(n, *(identity(n) or (0, 0))) for n in numbers])

    def _start(self, host: Host, attach: Callable[[int], None] | None, meanwhile: Callable[[], object] | None) -> None:
        template = self.template
        if template.jail.image is not None:
            with lazy.lock:
                from pyjail._plan import image

            image.lease(template.jail, self.tree)
        if template.cgroups.used:
            self.cgroup.make_home(template.cgroups)
        with contextlib.closing(self._pair()) as theirs, itself() as us, memfd("pyjail-plan") as plan:
            fds = [us, plan, *self.outputs, self.request, *self.cgroup.fds]
            self._spawn([theirs.fileno(), *(fd.number for fd in fds)])
            # From here on two processes work: it prepares what it can, and we what it needs next.
            with lazy.lock:
                from pyjail._keeper import id_maps
                from pyjail._policy import ids

            self.ids = ids.maps(template.jail, host, self.pid, template.subordinate)
            fill(plan, pack_template(template, self.ids), seal=True)
            self._tell(lib.OP_PLAN, self.cgroup.name.encode() + b"/keeper\0")
        self._paired()
        self.cgroup.make_rest(self.ids.keeper)
        self.sock.settimeout(HANDSHAKE_S)
        with self._expect(lib.REPLY_MAPS)[1] as keeper:
            try:
                if attach is not None:
                    attach(id_maps.pid_of(keeper.number))
                self._write_maps(keeper)
            except (JailError, OSError):
                # It has failed: what it says of that is the reason. Or it is dead, of which its guard tells by its end.
                if readable(self.sock.fileno(), 5000 if readable(keeper.number, 0) else 0):
                    self._expect(lib.REPLY_READY)
                raise
        self._tell(lib.OP_GO, self.cgroup.name.encode() + self.cgroup.leaves + b"\0")
        if meanwhile is not None:
            meanwhile()
        self.cgroup.clean_stale()
        self.ready = self._ready()
        self.sock.settimeout(None)
        self.cgroup.close_fds()

    def uncovered(self) -> bool:
        """Whether the host has renamed or replaced a directory that this jail hides: what hides it went with the old
        one, and the new one would be seen."""
        return bool(self.hidden) and machine.identities(self.template.seen.hidden, None) != self.hidden

    def _tell(self, op: int, data: bytes = b"") -> None:
        """While it starts. Should it be gone, its last words tell why: see `_expect`."""
        with contextlib.suppress(Gone):
            self.send(op, data=data)

    @property
    def _kept(self) -> tuple[Fd, ...]:
        return (*self.outputs, self.request, self.pidfd, self.tree)

    @property
    def _linked(self) -> bool:
        return self.sock_identity is None or identity(self.sock.fileno()) == self.sock_identity

    def _spawn(self, fds: list[int]) -> None:
        self._own()
        failure = ffi.new("struct pj_error *")
        exe = program.program()
        pid = lib.pj_spawn(exe.number, fds, len(fds), self.spawned, failure)
        if pid < 0:
            raise self._explained(Failure(STEPS[failure.step], failure.index, failure.err))
        self.pid = pid
        self._adopt()

    def _explained(self, failure: Failure) -> Exception:
        with lazy.lock:
            from pyjail._plan import explain

        return explain.error(failure, self.template)

    def _adopt(self) -> None:
        if self.spawned[0] >= 0:
            self.pidfd.adopt(self.spawned[0])
            self.spawned[0] = -1

    def _ready(self) -> tuple[bytes, bytes]:
        """What it read back of its template, and what is mounted: now, for its runs mount more. Read by a receipt."""
        raw, fd = self._expect(lib.REPLY_READY)
        text = b""
        with fd:
            if fd.number >= 0:
                with open(fd.number, "rb", buffering=0, closefd=False) as f:
                    text = f.readall()
        return raw, text

    def _expect(self, kind: int) -> tuple[bytes, Fd]:
        self._own()
        fd = Fd()
        # Not by a TimeoutError of the socket: a signal handler may raise one of its own.
        if not readable(self.sock.fileno(), int(HANDSHAKE_S * 1000)):
            raise KeeperError(f"the keeper did not answer within {HANDSHAKE_S:.0f} s of its start")
        try:
            raw, no_room = fd.receive(self.sock, REPORT_SIZE)
        except ConnectionResetError:  # it left our message unread; once that is told, what it has said follows
            raw, no_room = fd.receive(self.sock, REPORT_SIZE)
        if not raw:
            raise KeeperError(f"the keeper died while it prepared the jail: {self.how_it_died()}")
        got, failure = parse_reply(raw)
        if failure is not None:
            raise self._explained(failure)
        if got != kind:
            raise KeeperError(f"the keeper answered {got} where {kind} was due")
        if no_room:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return raw, fd

    def _write_maps(self, keeper: Fd) -> None:
        with lazy.lock:
            from pyjail._keeper import id_maps

        def alive() -> bool:
            self._own()
            return not readable(keeper.number, 0)

        id_maps.write(id_maps.pid_of(keeper.number), self.ids, alive)

    def _own(self) -> None:
        """Raises KeeperError in a child that was forked in a destructor, which goes on with its parent's call."""
        if self.owner != os.getpid():
            raise KeeperError("this process was forked from the keeper's in the midst of its start")

    def how_it_died(self) -> str:
        """After its hang-up: what ended it."""
        with self.closing, contextlib.suppress(ChildProcessError):
            if self.ended or self.pid <= 0:
                return "pyjail.close() ended it"
            with lazy.lock:
                from pyjail._keeper import death

            if self.pidfd.ours and readable(self.pidfd.number, 5000):
                said, self.pid = death.reaped(self.pidfd), -1
                return said
            return "it lives, and does not answer"
        return "its exit status went to somebody else's wait()"

    @property
    def alive(self) -> bool:
        """False once the process is gone."""
        return self.pidfd.ours and self.owner == os.getpid() and not readable(self.pidfd.number, 0)

    def forget(self) -> None:
        """In a forked child: drop our copies of the parent's fds, touch nothing else."""
        self._close_fds()

    def _close_fds(self) -> None:
        for sock in [sock for both in self.pair for sock in both]:
            sock.close()
        with contextlib.suppress(AttributeError):
            if self._linked:
                self.sock.close()
            else:  # closed already, or somebody else's
                self.sock.detach()
        for fd in self._kept:
            fd.close()
        self.cgroup.close_fds()

    def close(self) -> None:
        """`end`, and close our own fds: for who has it alone. May be called twice."""
        if self.owner != os.getpid():  # a thread that is not in this child may have held the lock
            self.forget()
            return
        with self.closing:
            self._end()
            if not self.watched:
                self._close_fds()

    def end(self) -> None:
        """End the keeper and what runs in it; wait until both are gone; remove its cgroups. From any thread: whoever
        leased it may be using its fds, whose numbers must not become somebody else's meanwhile."""
        if self.owner == os.getpid():
            with self.closing:
                self._end()

    def wake(self) -> None:
        """Go on, should somebody have stopped it (an administrator can)."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.pidfd.number, signal.SIGCONT)

    def hang_up(self) -> None:
        """Its order to kill and leave. Another thread may sit in recv: only shutdown reaches both ends then."""
        self.ended = True
        with contextlib.suppress(AttributeError, OSError):
            if self._linked:
                self.sock.shutdown(_socket.SHUT_RDWR)

    def _end(self) -> None:
        self.hang_up()
        self.hush()
        self._adopt()
        self._find_again()
        if self.pidfd.ours:
            self.wake()
            for order in (signal.SIGTERM, signal.SIGKILL):  # to its guard: SIGKILL it, wait for it; leave at once
                if not readable(self.pidfd.number, 0 if self.stuck else 5000):
                    with contextlib.suppress(OSError):
                        signal.pidfd_send_signal(self.pidfd.number, order)
            # Else a destructor that has run in here has ended it. Or, as pid 1 of a pid namespace, it waits until all
            # in that are reaped: some may be this process's own children.
            if self.pidfd.number >= 0 and readable(self.pidfd.number, 5000):
                with contextlib.suppress(ChildProcessError):
                    os.waitid(os.P_PIDFD, self.pidfd.number, os.WEXITED)
            self.pid = -1
        self.cgroup.remove()

    def _find_again(self) -> None:
        """A new pidfd, should the first have been closed under us: while it is not reaped, the pid is our child's."""
        if self.pid > 0 and not self.pidfd.ours:
            with contextlib.suppress(OSError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                self.pidfd = Fd(os.pidfd_open, self.pid)


# What ends jails of calls that failed, until it is done: should it be interrupted, too, the next run does it. To put it
# here takes no call, so no second ^C can come before that.
to_end: dict[object, Callable[[], None]] = {}
_all: weakref.WeakSet[Keeper] = weakref.WeakSet()


def _after_fork() -> None:
    """In the child: the keepers are the parent's. Who holds a copy of a socket keeps jails alive when he is killed."""
    for keeper in _all:
        keeper.forget()
    _all.clear()


os.register_at_fork(after_in_child=_after_fork)
