"""Shared state of the host: SysV and POSIX IPC, keyrings, cgroups, descriptors that were left open."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat

from pyjail._selftest.attacks.toolkit import Scene, act, attack, identity, note, opens, peek, quietly, show


@attack(
    "attaches SysV shared memory and reads a message queue of the host", "nsjail#231: IPC that leaks", needs=("sysv",)
)
def sysv(scene: Scene) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    for key in (scene["shm_key"],):
        found = quietly("shmget", key, 0, 0)
        note("shmget", found, -found)
        address = libc.shmat(found, None, 0o10000) if found >= 0 else None
        if address and address != ctypes.c_void_p(-1).value:
            show("shm", ctypes.string_at(address, 64))
    queue = quietly("msgget", scene["shm_key"], 0)
    note("msgget", queue, -queue)
    if queue >= 0:
        buffer = ctypes.create_string_buffer(512)
        quietly("msgrcv", queue, buffer, 256, 0, 0o4000 | 0o40000)  # IPC_NOWAIT, MSG_COPY: it stays there
        show("queue", buffer.raw)
    for path in ("shm", "msg", "sem"):
        peek(f"/proc/sysvipc/{path}")


@attack("opens POSIX shared memory of the host", "isolate 2.6: a shared /dev/shm", needs=("dev_shm",))
def posix_shm(scene: Scene) -> None:
    peek(scene["dev_shm"])


@attack("opens a POSIX message queue of the host", "isolate 2.6: mqueue", needs=("mqueue",))
def mqueue(scene: Scene) -> None:
    name = scene["name"].encode()
    queue = quietly("mq_open", name, os.O_RDONLY | os.O_NONBLOCK, 0, None)
    note("mq_open", queue, -queue)
    opens(("/dev/mqueue/" + scene["name"],))


@attack(
    "finds a key of the host's in the keyrings it can name", "isolate 2.6: keyrings; CVE-2016-0728", needs=("keyring",)
)
def keys(scene: Scene) -> None:
    for ring in (-1, -2, -3, -4, -5):  # thread, process, session, user, user session
        found = quietly("keyctl", 10, ring, b"user\0", scene["name"].encode() + b"\0", 0)
        if found > 0:
            note(f"a key of the host in keyring {ring}", found)
            buffer = ctypes.create_string_buffer(256)
            quietly("keyctl", 11, found, buffer, 255)
            show(f"keyring {ring}", buffer.value)
    peek("/proc/keys")


@attack("finds the cgroup file system and writes to it", "nsjail#199; CVE-2022-0492: release_agent")
def cgroup_files(scene: Scene) -> None:
    opens(
        (
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/cgroup.procs",
            "/sys/fs/cgroup/memory",
            "/cgroup",
            "/dev/cgroup",
            *scene["cgroups"],
        )
    )
    with contextlib.suppress(OSError), open("/proc/self/mountinfo") as f:
        for line in f:
            kind = line.partition(" - ")[2].split(" ")[0]
            if kind.startswith("cgroup"):
                note(f"a {kind} is mounted", 0)
    for base in ("/sys/fs/cgroup", *scene["cgroups"]):
        act(f"mkdir in {base}", os.mkdir, f"{base}/{scene['name']}")
        with contextlib.suppress(OSError):
            os.rmdir(f"{base}/{scene['name']}")


@attack(
    "raises its memory and process limits by their files", "nsjail#219: a cgroup that moves out", needs=("cgroups",)
)
def cgroup_limits(scene: Scene) -> None:
    for base in ("/sys/fs/cgroup", *scene["cgroups"]):
        opens(
            (f"{base}/{name}" for name in (
                "memory.max", "memory.limit_in_bytes", "pids.max", "cpu.max", "cgroup.procs", "tasks", "cgroup.kill",
                "cgroup.subtree_control", "release_agent", "notify_on_release", "memory.swap.max", "cgroup.freeze",
            )), os.O_WRONLY, "write",
        )  # fmt: skip


@attack("sees where in the host's cgroups it is", "paths of the host in /proc/self/cgroup", needs=("proc",))
def cgroup_path(scene: Scene) -> None:
    del scene
    peek("/proc/self/cgroup")
    peek("/proc/self/mountinfo")


@attack("finds descriptors that the host left open", "CVE-2024-21626: a leaked descriptor of a directory", leaks=True)
def descriptors(scene: Scene) -> None:
    for fd in range(3, 4096):
        try:
            st = os.fstat(fd)
        except OSError:
            continue
        note(f"descriptor {fd} is open", 0)
        with contextlib.suppress(OSError):
            show(f"descriptor {fd}", identity(fd))
            if stat.S_ISDIR(st.st_mode):
                peek(f"/proc/self/fd/{fd}{scene['canary']}")
    for fd in range(3):
        with contextlib.suppress(OSError):
            note(f"descriptor {fd} is a directory", 0 if stat.S_ISDIR(os.fstat(fd).st_mode) else -1, errno.ENOTDIR)


@attack("reads its own output back from the pipe", "an output limit that counts nothing", needs=("proc",))
def output_back(scene: Scene) -> None:
    del scene
    for fd in (1, 2):
        opens((f"/proc/self/fd/{fd}", f"/dev/fd/{fd}"), os.O_RDONLY)
        opens((f"/proc/self/fd/{fd}",), os.O_RDWR)
