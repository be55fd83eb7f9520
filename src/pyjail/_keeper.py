"""One keeper process and the talk with it. See csrc/README.md for its side of the contract."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import functools
import os
import select
import signal
import socket
import threading
from collections.abc import Callable

from pyjail import _explain
from pyjail._cgroup import KeeperCgroup, subtree
from pyjail._errors import KeeperError, SetupError
from pyjail._host import Host
from pyjail._native import ffi, lib
from pyjail._plan import RunLimits, Template
from pyjail._wire import STEPS, Failure, Prepared, pack_message, pack_template, parse_ready, parse_reply
from pyjail.policy import ids

HANDSHAKE_S = 30.0
REPORT_SIZE = 1 << 17
KEPT_OUTPUT = 1 << 18
_STARTED: bytes = lib.PJ_STARTED_MAGIC.to_bytes(4, "little")
MFD_EXEC = 0x10  # Linux 6.3; older kernels refuse the flag and need none
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def memfd(name: str, data: bytes = b"", *, seal: bool = False, execute: bool = False) -> int:
    """A memfd with ``data``, close-on-exec; sealed against any change when asked."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create(name, flags | (MFD_EXEC if execute else 0x8))  # MFD_NOEXEC_SEAL
    except OSError as e:
        if e.errno != errno.EINVAL:  # what a kernel before 6.3 says
            raise
        fd = os.memfd_create(name, flags)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if seal:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
            os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


@functools.cache
def _program(pid: int) -> int:
    """The keeper's ELF in a sealed memfd: nothing on disk to replace, nothing of ours to write (CVE-2019-5736)."""
    del pid
    path = os.path.join(os.path.dirname(__file__), "keeper")
    try:
        with open(path, "rb") as f:
            return memfd("pyjail-keeper", f.read(), seal=True, execute=True)
    except PermissionError:  # vm.memfd_noexec=2: then the file itself, which no program can reach to write
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _ended(pidfd: int, milliseconds: int) -> bool:
    """Whether the process ends within that time. (poll, not select: fds may be above 1023.)"""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(milliseconds))


class Gone(Exception):
    """The keeper hung up: it is dead."""


_HANG_UP = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF)


def _gone(e: OSError) -> Gone | OSError:
    """Whether the other end is gone, or it is we who lack memory: then the keeper lives, and must not be waited for."""
    return Gone() if e.errno in _HANG_UP else e


class Keeper:
    """A live keeper with its template prepared. Not thread-safe: whoever leased it has it alone.
    ``attach(pid)`` is called while it waits for its go, before it becomes not dumpable (see `_ptrace`)."""

    def __init__(
        self,
        template: Template,
        host: Host,
        attach: Callable[[int], None] | None = None,
        book: Callable[[Keeper], None] | None = None,
    ) -> None:
        self.template = template
        self.above = host.above
        self.owner = os.getpid()
        self.armed: RunLimits | None = None
        self.served = False  # has had a run
        self.watched = False  # an event loop has our socket in its set: nobody else may close it there
        self.idle_since = 0.0  # time.monotonic() of its return
        self.sock: socket.socket
        self.pid = self.pidfd = self.request_fd = -1
        self.spawned = ffi.new("int *", -1)  # its pidfd, there even when a signal handler raises as soon as C returns
        self.out_fds = (-1, -1)
        self.cgroup: KeeperCgroup | None = None
        self.closing = threading.Lock()
        try:
            self._start(host, attach)
            if book is not None:  # before anybody can be interrupted with it in hand
                book(self)
        except BaseException:
            self.close()
            raise

    def _start(self, host: Host, attach: Callable[[int], None] | None) -> None:
        template = self.template
        used = template.cgroups.used
        self.cgroup = subtree(template.cgroups).keeper() if used else None
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        with theirs:
            self.out_fds = (memfd("pyjail-stdout"), memfd("pyjail-stderr"))
            self.request_fd = memfd("pyjail-request")
            plan = memfd("pyjail-plan", pack_template(template), seal=True)
            try:
                fds = [theirs.fileno(), plan, *self.out_fds, self.request_fd, *(self.cgroup.fds if self.cgroup else ())]
                self._spawn(fds)
            finally:
                os.close(plan)
        self.sock.settimeout(HANDSHAKE_S)
        self._expect(lib.REPLY_MAPS)
        if attach is not None:
            attach(self.pid)
        self._write_maps(host)
        self.sock.sendall(pack_message(lib.OP_GO))
        self.prepared = self._ready()
        self.sock.settimeout(None)
        if self.cgroup is not None:
            self.cgroup.close_fds()

    def _spawn(self, fds: list[int]) -> None:
        failure = ffi.new("struct pj_error *")
        pidfd = self.spawned
        home = self.cgroup.home if self.cgroup is not None else -1
        pid = lib.pj_spawn(_program(self.owner), fds, len(fds), home, pidfd, failure)
        if pid < 0:
            raise _explain.error(Failure(STEPS[failure.step], failure.index, failure.err), self.template)
        self.pid, self.pidfd = pid, pidfd[0]

    def _ready(self) -> Prepared:
        raw, fd = self._expect(lib.REPLY_READY)
        text = b""
        if fd >= 0:
            with open(fd, "rb", buffering=0) as f:
                text = f.readall()
        return parse_ready(raw, text)

    def _expect(self, kind: int) -> tuple[bytes, int]:
        try:
            raw, ancillary, _, _ = self.sock.recvmsg(REPORT_SIZE, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        except TimeoutError:
            raise KeeperError(f"the keeper did not answer within {HANDSHAKE_S:.0f} s of its start") from None
        if not raw:
            raise KeeperError(f"the keeper died while it prepared the jail: {self.how_it_died()}")
        got, failure = parse_reply(raw)
        if failure is not None:
            raise _explain.error(failure, self.template)
        if got != kind:
            raise KeeperError(f"the keeper answered {got} where {kind} was due")
        return raw, int.from_bytes(ancillary[0][2][:4], "little", signed=True) if ancillary else -1

    def _write_maps(self, host: Host) -> None:
        """Single lines need no helper; setgroups is denied for good first (CVE-2014-8989)."""
        m = ids.maps(self.template.jail, host, self.pid, self.template.subordinate)
        self._write("setgroups", "deny")
        for name, helper, rows in (("uid_map", "newuidmap", m.uid_map), ("gid_map", "newgidmap", m.gid_map)):
            if m.helper:
                self._help(helper, rows)
            else:
                self._write(name, "".join(f"{inside} {outside} {n}\n" for inside, outside, n in rows))
        if self.cgroup is not None and m.keeper is not None:
            self.cgroup.give(*m.keeper)
        self.ids = m
        with contextlib.suppress(OSError), open(f"/proc/{self.pid}/oom_score_adj", "r+") as f:
            if int(f.read()) < 0:  # a protected embedder must not make protected programs
                f.write("0")

    def _write(self, name: str, text: str) -> None:
        try:
            with open(f"/proc/{self.pid}/{name}", "w") as f:
                f.write(text)
        except OSError as e:
            hint = "ids outside of what this user namespace has? set PYJAIL_ID_RANGE=FIRST:COUNT"
            raise SetupError("wait_go", None, f"{name}: {text!r}", e.errno or 0, hint) from e

    def _help(self, program: str, rows: tuple[tuple[int, int, int], ...]) -> None:
        """newuidmap(1), newgidmap(1): setuid programs that check /etc/subuid and /etc/subgid."""
        import subprocess

        command = [program, str(self.pid), *(str(n) for row in rows for n in row)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            hint = "check this user's lines in /etc/subuid and /etc/subgid, or set PYJAIL_SUBORDINATE_IDS=0"
            raise SetupError("wait_go", None, f"{' '.join(command)}: {done.stderr.strip()}", errno.EPERM, hint)

    def how_it_died(self) -> str:
        """After its hang-up: what ended it."""
        with self.closing, contextlib.suppress(ChildProcessError):
            if self.pid <= 0:
                return "it was closed"
            if not _ended(self.pidfd, 5000):
                return "it lives, and does not answer"
            _, status = os.waitpid(self.pid, 0)
            self.pid = -1
            code = os.waitstatus_to_exitcode(status)
            return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return "its exit status went to somebody else's wait()"

    # ---- requests ----

    def send(
        self, op: int, *, flags: int = 0, mode: int = 0, length: int = 0, data: bytes = b"", fds: tuple[int, ...] = ()
    ) -> None:
        """Send one message; `Gone` when the keeper is."""
        message = pack_message(op, flags, mode, length) + data
        try:
            if fds:
                socket.send_fds(self.sock, [message], fds)
            else:
                self.sock.send(message)
        except OSError as e:
            raise _gone(e) from None

    def receive(self, timeout: float | None = None) -> bytes:
        """One message. `Gone` at hang-up, TimeoutError after ``timeout`` s."""
        if timeout != self.sock.gettimeout():
            self.sock.settimeout(timeout)
        try:
            raw = self.sock.recv(REPORT_SIZE)
        except TimeoutError:
            raise
        except OSError as e:
            raise _gone(e) from None
        if not raw:
            raise Gone
        return raw

    def ask(
        self, op: int, *, flags: int = 0, mode: int = 0, length: int = 0, data: bytes = b"", fds: tuple[int, ...] = ()
    ) -> tuple[bytes, int]:
        """Send one message, receive its answer and the fd that came with it, or -1. Raises `Gone`."""
        self.send(op, flags=flags, mode=mode, length=length, data=data, fds=fds)
        self.sock.settimeout(None)
        return self._answer()

    def _answer(self) -> tuple[bytes, int]:
        buf = array.array("i")
        try:
            raw, ancillary, _, _ = self.sock.recvmsg(REPORT_SIZE, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            raise
        except OSError as e:
            raise _gone(e) from None
        for _, _, part in ancillary:
            buf.frombytes(part[:4])
        if not raw:
            raise Gone
        return raw, buf[0] if buf else -1

    def file(self, op: int, path: bytes, flags: int = 0, mode: int = 0, fd: int = -1) -> int:
        """OP_OPEN, OP_MKDIR, OP_PUT, OP_REMOVE in the workspace: the fd, or -1. OSError as from open(2), `Gone`.

        ``fd``: the directory to start from (OP_OPEN), the content (OP_PUT).
        """
        data = path + b"\0"
        raw, found = self.ask(op, flags=flags, mode=mode, length=len(data), data=data, fds=() if fd < 0 else (fd,))
        _, failure = parse_reply(raw)
        if failure is not None:
            raise OSError(failure.errno, os.strerror(failure.errno), os.fsdecode(path))
        if op == lib.OP_OPEN and found < 0:  # the kernel had no free number here for the fd that was sent
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), os.fsdecode(path))
        return found

    def output(self, stream: int, length: int) -> bytes:
        """The captured bytes of the last run."""
        if not length:
            return b""
        data = os.pread(self.out_fds[stream], length, 0)
        while len(data) < length:
            more = os.pread(self.out_fds[stream], length - len(data), len(data))
            if not more:
                break
            data += more
        if length > KEPT_OUTPUT:
            os.ftruncate(self.out_fds[stream], 0)  # the next run starts at 0 anyway; do not sit on the memory
        return data

    @property
    def started(self) -> bool:
        """Whether the last request got as far as its go; False means that no program ever ran."""
        with contextlib.suppress(OSError):
            mark: bytes = os.pread(self.request_fd, 4, 0)
            return mark == _STARTED
        return True  # closed by another thread: it may have

    @property
    def alive(self) -> bool:
        """False once the process is gone."""
        return self.pidfd >= 0 and self.owner == os.getpid() and not _ended(self.pidfd, 0)

    def forget(self) -> None:
        """In a forked child: drop our copies of the parent's fds, touch nothing else."""
        with contextlib.suppress(AttributeError):
            self.sock.close()
        self._close_fds()

    def _close_fds(self) -> None:
        fds = [*self.out_fds, self.request_fd, self.pidfd]
        self.out_fds, self.request_fd, self.pidfd = (-1, -1), -1, -1  # forgotten first: none is closed twice
        for fd in fds:
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def close(self) -> None:
        """End the keeper and what runs in it; wait until both are gone; remove its cgroups. May be called twice."""
        with self.closing:
            self._close()

    def wake(self) -> None:
        """Go on, should somebody have stopped it (an administrator can)."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGCONT)

    def hang_up(self) -> None:
        """Its order to kill and leave. Another thread may sit in recv: only shutdown reaches both ends then."""
        with contextlib.suppress(AttributeError, OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        self.hang_up()
        if self.pid < 0 and self.pidfd < 0:
            self.pidfd = self.spawned[0]
        self.spawned[0] = -1
        if self.pidfd >= 0 and self.owner == os.getpid():
            self.wake()
            if not _ended(self.pidfd, 5000):
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
            self.pid = -1
        if not self.watched:
            with contextlib.suppress(AttributeError):
                self.sock.close()
            self._close_fds()
        if self.cgroup is not None:
            self.cgroup.remove()
            self.cgroup = None
