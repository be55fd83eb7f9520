"""A program of its own: tries each kernel interface that a jail needs, and prints what came of it as JSON.

Started as ``python -I attempts.py KEEPER [privileged]`` by `pyjail._doctor.examination`; it imports nothing of pyjail.
Every attempt is made in a forked child that ends at once, so namespaces, mounts and filters go with it. The system
calls are the keeper's own (see csrc): mount(2) or clone(2) would meet other filters than fsopen(2) and clone3(2).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import struct
import sys
from collections.abc import Callable

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
NUMBERS = {
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "clone3": 435,
    "mount_setattr": 442, "landlock_create_ruleset": 444, "landlock_restrict_self": 446,
}  # fmt: skip
NUMBERS |= (
    {"pivot_root": 41, "seccomp": 277, "sethostname": 161, "unshare": 97}
    if os.uname().machine == "aarch64"
    else {"pivot_root": 155, "seccomp": 317, "sethostname": 170, "unshare": 272}
)
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
MNT_DETACH = 2
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
PRIVATE = 1 << 18
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
MFD_EXEC, MFD_ALLOW_SEALING = 0x10, 2
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

PRIVILEGED = "privileged" in sys.argv  # as `Host.privileged`: mounts are opened before there is a user namespace
libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL: clone3 must return with the interpreter's lock held


class Refused(Exception):
    """A call that failed: its name and errno."""


def call(name: str, *args: int | bytes | None) -> int:
    """One raw system call."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = int(libc.syscall(ctypes.c_long(NUMBERS[name]), *wide))
    if result < 0:
        raise Refused(name, ctypes.get_errno())
    return result


def unshare(kind: str, flag: int) -> None:
    try:
        call("unshare", flag)
    except Refused as e:
        raise Refused(f"unshare {kind}", e.args[1]) from None


def user() -> None:
    unshare("user", NEWUSER)


def clone3() -> None:
    pid = call("clone3", struct.pack("<8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64)
    if pid == 0:
        libc._exit(0)
    os.waitpid(pid, 0)


def filesystem(kind: bytes, options: tuple[tuple[bytes, bytes], ...], attributes: int) -> int:
    """A new file system as a detached mount."""
    fd = call("fsopen", kind, 1)
    for name, value in options:
        call("fsconfig", fd, 1, name, value, 0)  # FSCONFIG_SET_STRING
    call("fsconfig", fd, 6, None, None, 0)  # FSCONFIG_CMD_CREATE
    return call("fsmount", fd, 1, attributes)


def attributes(set_: int, propagation: int = 0) -> bytes:
    return struct.pack("<4Q", set_, 0, propagation, 0)


def source(path: bytes) -> int:
    """What a jail is to show, opened with our own rights; then the namespaces in which it is mounted."""
    if not PRIVILEGED:
        user()
    unshare("mnt", NEWNS)
    call("mount_setattr", AT_FDCWD, b"/", AT_RECURSIVE, attributes(0, PRIVATE), 32)
    tree = call("open_tree", AT_FDCWD, path, 1 | os.O_CLOEXEC | AT_RECURSIVE)  # OPEN_TREE_CLONE
    if PRIVILEGED:
        user()
        unshare("mnt", NEWNS)
    return tree


def mounts() -> None:
    source(b"/")
    root = filesystem(b"tmpfs", ((b"mode", b"755"),), NOSUID | NODEV)
    call("move_mount", root, b"", AT_FDCWD, b"/", 4)  # MOVE_MOUNT_F_EMPTY_PATH
    os.fchdir(root)
    call("pivot_root", b".", b".")
    if libc.umount2(b".", MNT_DETACH):
        raise Refused("umount2", ctypes.get_errno())
    os.chdir("/")
    call("mount_setattr", root, b"", AT_EMPTY_PATH, attributes(RDONLY), 32)


def proc() -> None:
    """A procfs of a pid namespace of its own, as a run gets one: beside ours, whose covers our own rights may lift."""
    ours = source(b"/proc")
    unshare("pid", NEWPID)

    def inside() -> None:
        call("move_mount", ours, b"", AT_FDCWD, b"/", 4)
        options = ((b"subset", b"pid"), (b"hidepid", b"ptraceable"))
        filesystem(b"proc", options, RDONLY | NOSUID | NODEV | NOEXEC)

    failure = attempt(inside)
    if failure is not None:
        raise Refused(*failure)


def network() -> None:
    user()
    unshare("net", NEWNET)


def others() -> None:
    user()
    for kind, flag in (("pid", NEWPID), ("ipc", NEWIPC), ("uts", NEWUTS), ("cgroup", NEWCGROUP)):
        unshare(kind, flag)
    name = os.uname().nodename.encode()
    call("sethostname", name, len(name))


def _filter(flags: int) -> None:
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    allow_all = ctypes.create_string_buffer(struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000))
    program = struct.pack("<HxxxxxxQ", 1, ctypes.addressof(allow_all))
    call("seccomp", 1, flags, program)  # SECCOMP_SET_MODE_FILTER


def seccomp() -> None:
    _filter(0)


def seccomp_listener() -> None:
    _filter(8)  # SECCOMP_FILTER_FLAG_NEW_LISTENER


def landlock() -> None:
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    ruleset = call("landlock_create_ruleset", struct.pack("<Q", 1), 8, 0)  # LANDLOCK_ACCESS_FS_EXECUTE
    call("landlock_restrict_self", ruleset, 0)


def _exec(fd: int) -> None:
    """The keeper ends by itself when its fd 0 is no socket."""
    try:
        os.execve(fd, ["pyjail-keeper"], {})  # noqa: S606  # no shell is the point
    except OSError as e:
        raise Refused("execveat", e.errno) from None


def keeper_memfd() -> None:
    with open(sys.argv[1], "rb") as f:
        data = f.read()
    try:
        fd = os.memfd_create("pyjail-keeper", os.MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC)
    except OSError as e:
        if e.errno != 22:  # a kernel before 6.3 does not know MFD_EXEC and needs none
            raise Refused("memfd_create", e.errno) from None
        fd = os.memfd_create("pyjail-keeper", os.MFD_CLOEXEC | MFD_ALLOW_SEALING)
    while data:
        data = data[os.write(fd, data) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    _exec(fd)


def keeper_file() -> None:
    _exec(os.open(sys.argv[1], os.O_RDONLY | os.O_CLOEXEC))


ATTEMPTS: tuple[Callable[[], None], ...] = (
    clone3, user, mounts, proc, network, others, seccomp, seccomp_listener, landlock, keeper_memfd, keeper_file,
)  # fmt: skip


def attempt(what: Callable[[], None]) -> tuple[str, int] | None:
    """None, or (the call that failed, its errno); a negative errno is the signal that ended the child."""
    reader, writer = os.pipe()  # close-on-exec, as all of Python's
    pid = os.fork()
    if pid == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        answer: tuple[str, int] | None = None
        try:
            what()
        except Refused as e:
            answer = e.args
        except OSError as e:
            answer = (what.__name__, e.errno or 5)
        except BaseException as e:
            answer = (f"{what.__name__}: {e!r}", 0)
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as f:
        raw = f.read()
    _, status = os.waitpid(pid, 0)
    if raw:
        found = json.loads(raw)
        return None if found is None else (found[0], found[1])
    return (what.__name__, -os.WTERMSIG(status)) if os.WIFSIGNALED(status) else None  # no answer: it was executed


def main() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # what the keeper reads from
    print(json.dumps({what.__name__: attempt(what) for what in ATTEMPTS}))


if __name__ == "__main__":
    main()
