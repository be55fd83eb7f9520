"""A process gives up all rights but those to one directory: what unpacks an image is taken for attackable.

As root it becomes one unprivileged id, S, that owns all files of the store; as a user it stays the user. The directory
is its root (chroot, in a user namespace where that takes one) and the only one that Landlock lets it touch; it has no
network, no capability, no new process (`alone`), and bounds on memory, CPU time and file sizes. Called in a process of
its own with one thread, when all is imported.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import struct

from pyjail._base.errors import HostError

_NEWIPC, _NEWUSER, _NEWNET = 0x08000000, 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # of every architecture
_ABI_OF_LINKS = 2  # before it, no hard link could be made from one directory to another
_FS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}  # rights that a version knows
_USED = (
    0x71BE  # write, read, list, remove, make directories, files and symlinks, link, truncate: not execute, no devices
)
_TCP, _SCOPES = 0x3, 0x3  # bind, connect; abstract sockets, signals
_ENDED = "the process that started the unpacker has ended"

_libc = ctypes.CDLL(None, use_errno=True)


def confine(root: int, identity: int | None, parent: int, *, memory: int, cpu: int, size: int) -> None:
    """Leave nothing to this process but the directory ``root`` (an fd) and the fds that it has.

    ``identity``: S, to become it; None: stay who we are. ``parent``: the pid that we end with. ``memory``, ``size`` in
    bytes, ``cpu`` in seconds. Raises HostError where neither a root of its own nor Landlock is to be had.
    """
    rooted = _rooted(root, identity is not None)
    if identity is not None:
        try:
            os.setgroups([])
            os.setresgid(identity, identity, identity)
            os.setresuid(identity, identity, identity)
        except OSError as e:
            why = f"this process may not become the id {identity}, which owns the store ({os.strerror(e.errno or 0)})"
            raise HostError("unpacker", why, "set PYJAIL_STORE_ID to an id of this user namespace") from e
    _no_capabilities()
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if not _landlock(root) and not rooted:
        fix = "allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0)"
        raise HostError("unpacker", "there is neither chroot nor Landlock to confine it with", fix)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after the change of ids, which takes it away
    if os.getppid() != parent:
        raise HostError("unpacker", _ENDED, "start again")
    for what, most in (
        (resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, cpu), (resource.RLIMIT_FSIZE, size),
        (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def alone() -> None:
    """No process and no thread is started from now on."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _rooted(root: int, privileged: bool) -> bool:
    """Whether ``root`` is now our "/"."""
    if not privileged:
        uid, gid = os.geteuid(), os.getegid()
        if _libc.unshare(_NEWUSER | _NEWNET | _NEWIPC):
            return False
        for name, text in (("setgroups", "deny"), ("gid_map", f"{gid} {gid} 1"), ("uid_map", f"{uid} {uid} 1")):
            with open(f"/proc/self/{name}", "wb", buffering=0) as f:
                f.write(text.encode())
    else:
        _libc.unshare(_NEWNET | _NEWIPC)  # what is not allowed is not needed: Landlock, and the id
    os.fchdir(root)
    try:
        os.chroot(".")
    except PermissionError:
        return False
    os.chdir("/")
    return True


def _no_capabilities() -> None:
    """The change of ids took them, but not those in a user namespace of our own."""
    head = struct.pack("=Ii", 0x20080522, 0)
    if _libc.capset(head, bytes(24)):
        raise OSError(ctypes.get_errno(), "capset")


def _landlock(root: int) -> bool:
    """Whether Landlock now denies all file systems but what is below ``root``, and what else it knows."""
    abi = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if abi < _ABI_OF_LINKS:
        return False
    known = _FS[max(n for n in _FS if n <= abi)]
    rules = struct.pack("=QQQ", known, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    rules = rules[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = _libc.syscall(_CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        return False
    try:
        beneath = struct.pack("=Qi", known & _USED, root)
        for call, *given in ((_ADD_RULE, 1, beneath, 0), (_RESTRICT_SELF, 0)):
            if _libc.syscall(call, ruleset, *given):
                raise OSError(ctypes.get_errno(), f"landlock: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(ruleset)
    return True


def sync(fd: int) -> None:
    """Write out the file system that ``fd`` is on. Raises OSError for what could not be written."""
    if _libc.syncfs(fd):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def is_full(e: OSError) -> bool:
    """Whether this says that no room is left."""
    return e.errno in (errno.ENOSPC, errno.EDQUOT)
