"""Processes that are not its own: init, those of the host, those of the embedder."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal

from pyjail._selftest.attacks.toolkit import REFUSED, Scene, act, attack, call, note, quietly, show

PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206


def _not_ours(scene: Scene) -> list[int]:
    """Pids of the host that mean nobody here, or somebody who is not of this run."""
    mine = {os.getpid(), os.getppid()}
    return [pid for pid in (scene["pid"], scene["embedder"], scene["parent"]) if pid > 1 and pid not in mine]


@attack("sends every signal to init", "killing the supervisor to forge a result")
def signal_init(scene: Scene) -> None:
    del scene
    for number in range(1, 65):
        with contextlib.suppress(OSError):
            os.kill(1, number)  # init ignores what it has no handler for, SIGKILL too: the run must go on


@attack("kills a process of the host by its number there", "signals by a number of another pid namespace")
def signal_host(scene: Scene) -> None:
    pid = scene["pid"]
    if pid in (os.getpid(), os.getppid()):
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        for how, args in (
            ("tgkill", (pid, pid, number)),
            ("rt_sigqueueinfo", (pid, number, ctypes.create_string_buffer(128))),
        ):
            call(how, *args)
        act("kill", os.kill, pid, number)
        act("killpg", os.killpg, pid, number)
    fd = call("pidfd_open", pid, 0)
    if fd >= 0:
        call("pidfd_send_signal", fd, signal.SIGKILL, None, 0)


@attack("signals everybody it can see", "kill(-1): all processes of a uid")
def signal_everyone(scene: Scene) -> None:
    del scene
    for number in (signal.SIGURG, signal.SIGWINCH):  # ignored unless somebody listens: the host's process does
        with contextlib.suppress(OSError):
            os.kill(-1, number)
        with contextlib.suppress(OSError):
            os.kill(0, number)


@attack("traces init and processes of the host", "CVE-2017-5206, CVE-2019-13272: ptrace", errnos=REFUSED)
def ptrace(scene: Scene) -> None:
    for pid in (1, *_not_ours(scene)):
        call("ptrace", PTRACE_ATTACH, pid, 0, 0, label=f"ptrace(ATTACH, {pid})")
        call("ptrace", PTRACE_SEIZE, pid, 0, 0, label=f"ptrace(SEIZE, {pid})")
    call("ptrace", 0x420E, 1, 8, 1, label="ptrace(GET_SYSCALL_INFO)")


@attack("reads and writes the memory of others", "reading a checker's memory: process_vm_readv", errnos=REFUSED)
def memory(scene: Scene) -> None:
    buffer = ctypes.create_string_buffer(64)
    local = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 64)
    remote = (ctypes.c_uint64 * 2)(scene["address"], 64)
    for pid in (1, *_not_ours(scene)):
        call("process_vm_readv", pid, local, 1, remote, 1, 0, label=f"process_vm_readv({pid})")
        show("memory", buffer.raw)
        call("process_vm_writev", pid, local, 0, remote, 0, 0, label=f"process_vm_writev({pid})")


@attack("takes descriptors out of others", "a checker's result file: pidfd_getfd, kcmp", errnos=(*REFUSED, "ESRCH"))
def descriptors(scene: Scene) -> None:
    for pid in (1, *_not_ours(scene)):
        fd = quietly("pidfd_open", pid, 0)
        if fd >= 0:
            call("pidfd_getfd", fd, 0, 0, label=f"pidfd_getfd({pid})")
        call("kcmp", pid, os.getpid(), 0, 0, 0, label=f"kcmp({pid})")


@attack("ends or advises the memory of others", "process_madvise, process_mrelease", errnos=REFUSED)
def memory_advice(scene: Scene) -> None:
    del scene
    fd = quietly("pidfd_open", 1, 0)
    call("process_madvise", fd, None, 0, 21, 0)
    call("process_mrelease", fd, 0)


@attack(
    "changes the limits of init and of processes of the host",
    "a supervisor without descriptors: prlimit",
    errnos=("EPERM", "ENOSYS", "ESRCH"),
)
def limits(scene: Scene) -> None:
    old = (ctypes.c_uint64 * 2)()  # to look takes the same permission as to change
    for pid in (1, *_not_ours(scene)):
        call("prlimit64", pid, resource.RLIMIT_NOFILE, None, old, label=f"prlimit({pid})")


@attack("changes how others are scheduled", "nice values as signals between jails")
def scheduling(scene: Scene) -> None:
    for pid in (1, *_not_ours(scene)):
        # To what it is already: as good as any other value, and no harm done.
        act(f"setpriority({pid})", lambda p=pid: os.setpriority(os.PRIO_PROCESS, p, os.getpriority(os.PRIO_PROCESS, p)))
        act(f"sched_setaffinity({pid})", lambda p=pid: os.sched_setaffinity(p, os.sched_getaffinity(p)))
        act(
            f"sched_setscheduler({pid})",
            lambda p=pid: os.sched_setscheduler(p, os.sched_getscheduler(p), os.sched_getparam(p)),
        )
        call("ioprio_set", 1, pid, 0, label=f"ioprio_set({pid})")


@attack("joins a session or process group of others, takes over a terminal", "tcsetpgrp: the caller's shell is stopped")
def sessions(scene: Scene) -> None:
    for pid in _not_ours(scene):
        act(f"setpgid({pid})", os.setpgid, pid, pid)
        act(f"join {pid}'s group", os.setpgid, 0, pid)
    for fd in (0, 1, 2):
        act(f"tcsetpgrp({fd})", os.tcsetpgrp, fd, os.getpgrp())


@attack("types into the caller's terminal, its standard input", "CVE-2017-5226: TIOCSTI; TIOCLINUX", errnos=("EPERM",),
        terminal=True)  # fmt: skip
def typing(scene: Scene) -> None:
    del scene
    note("a terminal was given", -1 if os.isatty(0) else 0, 1)
    quietly("ioctl", 0, 0x540E, 1)  # TIOCSCTTY
    for high in (0, 1, 0xDEADBEEF):  # the kernel reads 32 bits of the request; a filter that reads 64 misses these
        for name, request in (("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541C), ("TIOCSETD", 0x5423)):
            call("ioctl", 0, request | high << 32, b"\n\0\0\0", label=f"{name} with {high:#x} above")
