"""Watch the system calls of one jailed program from outside, by ptrace(2). It stays inside all its fences meanwhile:
a stop at a call comes before the filter decides, and the filter's decision is carried out as always.

The keeper is seized while it still may be (before PR_SET_DUMPABLE 0); the kernel then attaches the program at
its birth, and the keeper is let go of at once. Should the watching thread end early, the kernel kills
what it still watches (PTRACE_O_EXITKILL).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import threading
from collections.abc import Callable
from typing import Any

from pyjail._base.errors import HostError, KeeperError

CONT, DETACH, SYSCALL = 7, 17, 24
PIDFD_GETFD = 438  # on every architecture
GETEVENTMSG, SEIZE, LISTEN, GET_SYSCALL_INFO = 0x4201, 0x4206, 0x4208, 0x420E
SYSGOOD, FORK, VFORK, CLONE, EXEC, EXITKILL = 1, 2, 4, 8, 16, 0x100000
EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_STOP = 1, 2, 3, 4, 128
ENTRY, EXIT = 1, 2
WALL, WNOTHREAD = 0x40000000, 0x20000000
SYSCALL_STOP = signal.SIGTRAP | 0x80
GROUP_STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
PATIENCE_S = 10.0


class _Entry(ctypes.Structure):
    _fields_ = (("nr", ctypes.c_uint64), ("args", ctypes.c_uint64 * 6))


class _Exit(ctypes.Structure):
    _fields_ = (("rval", ctypes.c_int64), ("is_error", ctypes.c_uint8))


class _Union(ctypes.Union):
    _fields_ = (("entry", _Entry), ("exit", _Exit))


class SyscallInfo(ctypes.Structure):
    """struct ptrace_syscall_info (Linux 5.3), the same on every architecture."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64),
        ("u", _Union),
    )


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.syscall.restype = ctypes.c_long
_libc.syscall.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_long)
_libc.process_vm_readv.restype = ctypes.c_ssize_t
_libc.process_vm_readv.argtypes = (
    ctypes.c_long, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong,
)  # fmt: skip


def _ptrace(request: int, pid: int, addr: int = 0, data: Any = 0) -> int:
    rc: int = _libc.ptrace(request, pid, addr, data)
    if rc < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return rc


def read_memory(pid: int, address: int, length: int) -> bytes:
    """Up to ``length`` bytes of a process; fewer where its memory ends. OSError when there is nothing to be read."""
    buffer = ctypes.create_string_buffer(length)
    local = _Iovec(ctypes.addressof(buffer), length)
    remote = _Iovec(address, length)
    n: int = _libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    if n < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw[:n]


def read_string(pid: int, address: int, most: int = 4096) -> bytes | None:
    """The string at ``address``, None when it cannot be read or has no end; never over a page that is not there."""
    data = b""
    while len(data) < most:
        step = min(4096 - (address + len(data)) % 4096, 256)
        try:
            data += read_memory(pid, address + len(data), step)
        except OSError:
            return None
        if b"\0" in data:
            return data.partition(b"\0")[0]
    return None


def initial_stack(pid: int) -> tuple[list[int], dict[int, int]]:
    """(argv, the auxiliary vector) of a process that has just executed, from its stack; argv as addresses.

    /proc/PID/auxv would tell the same to its owner only, which the program of another user's id does not have.
    """
    info = SyscallInfo()
    _ptrace(GET_SYSCALL_INFO, pid, ctypes.sizeof(info), ctypes.addressof(info))
    raw = read_memory(pid, info.sp, 1 << 18)
    words = [n for (n,) in struct.iter_unpack("Q", raw[: len(raw) // 8 * 8])]
    argc = words[0] if words else 0
    try:
        end_of_env = words.index(0, argc + 2)
    except ValueError:  # more arguments than we look at
        return words[1 : argc + 1], {}
    pairs = words[end_of_env + 1 :]
    auxv: dict[int, int] = {}
    for key, value in zip(pairs[::2], pairs[1::2], strict=False):
        if key == 0:
            break
        auxv[key] = value
    return words[1 : argc + 1], auxv


def fd_path(tid: int, fd: int) -> str:
    """What an fd of a watched process is, by the name that it has inside; "" when that cannot be told."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{tid}/fd/{fd}")  # for the owner
    try:
        with open(f"/proc/{tid}/status") as f:
            tgid = next(int(line.split()[1]) for line in f if line.startswith("Tgid:"))
        pidfd = os.pidfd_open(tgid)
    except (OSError, StopIteration):
        return ""
    try:
        copy: int = _libc.syscall(PIDFD_GETFD, pidfd, fd, 0)  # for who may ptrace(2); close-on-exec
    finally:
        os.close(pidfd)
    if copy < 0:
        return ""
    try:
        return os.readlink(f"/proc/self/fd/{copy}")
    except OSError:
        return ""
    finally:
        os.close(copy)


class Watch:
    """The system calls of the program that one keeper starts. Use `attach` as a keeper's, then `wait`.

    ``entered(tid, nr, args, arch)`` is called before each call of the program (after its first execve),
    ``left(tid, value)`` after it, ``executed(tid)`` after each successful execve, all in the watching thread.
    """

    def __init__(
        self,
        entered: Callable[[int, int, Any, int], None],
        left: Callable[[int, int], None],
        executed: Callable[[int], None],
    ) -> None:
        self.entered, self.left, self.executed = entered, left, executed
        self.started = False  # the program has been seen
        self.error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._roles: dict[int, str] = {}  # "keeper", "program": became "running" with its first execve
        self._early: set[int] = set()  # born, stopped, and their parent has not said yet whose they are
        self._info = SyscallInfo()

    def attach(self, keeper: int) -> None:
        """Watch this keeper, which waits for its go. HostError when this host does not allow it."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(keeper, ready), name="pyjail-watch", daemon=True)
        self._thread.start()
        ready.wait()
        if isinstance(self.error, OSError):
            raise _refused(self.error) from self.error
        if self.error is not None:
            raise self.error

    def wait(self) -> None:
        """After the run: everything that was watched is gone. Raises what went wrong while watching."""
        if self._thread is not None:
            self._thread.join(PATIENCE_S)
            if self._thread.is_alive():
                raise KeeperError("the program's processes are gone, and yet ptrace(2) reports no end of them")
        if self.error is not None:
            raise self.error

    # ---- the watching thread: ptrace(2) obeys only the thread that attached ----

    def _run(self, keeper: int, ready: threading.Event) -> None:
        try:
            self._roles[keeper] = "keeper"
            _ptrace(SEIZE, keeper, 0, SYSGOOD | FORK | VFORK | CLONE | EXEC | EXITKILL)
            ready.set()
            self._loop()
        except BaseException as e:  # the end of this thread is the end of what it watches
            self.error = e
        finally:
            ready.set()

    def _loop(self) -> None:
        while True:
            try:
                tid, status = os.waitpid(-1, WALL | WNOTHREAD)
            except ChildProcessError:
                return
            if not os.WIFSTOPPED(status):
                self._roles.pop(tid, None)
                continue
            with contextlib.suppress(ProcessLookupError):  # killed while it was stopped
                self._stopped(tid, os.WSTOPSIG(status), status >> 16)

    def _stopped(self, tid: int, sig: int, event: int) -> None:
        role = self._roles.get(tid)
        if role is None and "keeper" not in self._roles.values():
            role = self._roles[tid] = "running"  # a child of the program, whatever becomes of its parent
        if role is None:
            self._early.add(tid)
        elif sig == SYSCALL_STOP:
            if role == "running":
                self._syscall(tid)
            self._go_on(tid)
        elif event in (EVENT_FORK, EVENT_VFORK, EVENT_CLONE):
            self._born(self._message(tid), role)
            if role == "keeper":
                del self._roles[tid]
                _ptrace(DETACH, tid)
            else:
                self._go_on(tid)
        elif event == EVENT_EXEC:
            if self._message(tid) != tid:  # a thread took over the id of its leader
                self._roles.pop(self._message(tid), None)
            self._roles[tid] = "running"
            self.started = True
            self.executed(tid)
            self._go_on(tid)
        elif event == EVENT_STOP:
            _ptrace(LISTEN, tid) if sig in GROUP_STOPS else self._go_on(tid)
        else:
            self._go_on(tid, sig)

    def _born(self, child: int, parent: str) -> None:
        self._roles[child] = "program" if parent == "keeper" else parent
        if child in self._early:
            self._early.discard(child)
            with contextlib.suppress(ProcessLookupError):
                self._go_on(child)

    def _go_on(self, tid: int, sig: int = 0) -> None:
        """Before the first execve a process is ours: its calls are of no interest."""
        _ptrace(SYSCALL if self._roles.get(tid) == "running" else CONT, tid, 0, sig)

    def _message(self, tid: int) -> int:
        value = ctypes.c_ulong()
        _ptrace(GETEVENTMSG, tid, 0, ctypes.addressof(value))
        return value.value

    def _syscall(self, tid: int) -> None:
        info = self._info
        _ptrace(GET_SYSCALL_INFO, tid, ctypes.sizeof(info), ctypes.addressof(info))
        if info.op == ENTRY:
            self.entered(tid, info.u.entry.nr, info.u.entry.args, info.arch)
        elif info.op == EXIT:
            self.left(tid, info.u.exit.rval)


def _refused(error: OSError) -> HostError:
    """Why ptrace(2) of our own child is not possible."""
    scope = ""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/yama/ptrace_scope") as f:
        scope = f.read().strip()
    if scope == "3":
        return HostError("learn", "kernel.yama.ptrace_scope is 3: nobody may ptrace(2)", "boot without that setting")
    return HostError(
        "learn",
        f"ptrace(2) of our own child: {error.strerror}",
        "in a container allow it (docker: --cap-add SYS_PTRACE, or a seccomp profile with ptrace); "
        "not below another tracer like strace -f; a sandbox like gVisor cannot be traced in",
    )
