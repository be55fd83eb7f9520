"""Ids, capabilities, limits: to get back what was taken away."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct

from pyjail._selftest.attacks.toolkit import REFUSED, Scene, act, attack, call, note, quietly

# Programs of a few bytes, as no compiler can be assumed: exit(geteuid()).
_CODE = {
    "x86_64": (62, bytes.fromhex("b86b0000000f0589c7b83c0000000f05")),
    "aarch64": (183, bytes.fromhex("e81580d2010000d4a80b80d2010000d4")),
}


def tiny_program(machine: str) -> bytes:
    """A static ELF file that ends with the low byte of its effective uid."""
    kind, code = _CODE[machine]
    size = 64 + 56 + len(code)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1" + bytes(9), 2, kind, 1, 0x400078, 64, 0, 0, 64, 56, 1, 64, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, size, size, 0x1000)
    return head + segment + code


@attack("becomes root by setuid and its like", "a saved or real id that was left behind", needs=("uid",))
def become_root(scene: Scene) -> None:
    del scene
    for name, args in (("setuid", (0,)), ("setreuid", (0, 0)), ("setresuid", (0, 0, 0)), ("seteuid", (0,))):
        act(name, getattr(os, name), *args)
    note("uid 0", 0 if 0 in (*os.getresuid(), *os.getresgid()) else -1)


@attack("takes other groups", "CVE-2014-8989: groups dropped to gain access; isolate 2.5", needs=("uid",))
def groups(scene: Scene) -> None:
    del scene
    act("setgroups([])", os.setgroups, [])
    act("setgroups([0])", os.setgroups, [0])
    act("setgid(0)", os.setgid, 0)
    act("setresgid", os.setresgid, 0, 0, 0)


@attack("takes any other id of the machine", "ids of the host, mapped by mistake")
def other_ids(scene: Scene) -> None:
    mine = set(os.getresuid())
    for uid in {1, 2, 33, 999, 1000, 1001, 65533, 65534, *scene["ids"]} - mine:
        act(f"setresuid({uid})", os.setresuid, uid, uid, uid)


@attack("raises capabilities", "CVE-2020-5291: bwrap kept capabilities", errnos=None)
def capabilities(scene: Scene) -> None:
    del scene
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    for low, label in ((0xFFFFFFFF, "all"), (1 << 21, "CAP_SYS_ADMIN"), (1 << 1, "CAP_DAC_OVERRIDE")):
        data = (ctypes.c_uint32 * 6)(low, low, low, 0, 0, 0)
        call("capset", header, data, label=f"capset({label})")
    for cap in range(41):
        result = quietly("prctl", 47, 2, cap, 0, 0)  # PR_CAP_AMBIENT, RAISE
        if result >= 0:
            note(f"ambient capability {cap}", 0)
        if quietly("prctl", 23, cap, 0, 0, 0) == 1:  # PR_CAPBSET_READ
            note(f"capability {cap} in the bounding set", 0)
    call("prctl", 28, 0, 0, 0, 0, label="PR_SET_SECUREBITS")


@attack("takes no_new_privs back", "setuid files would give something again")
def no_new_privs(scene: Scene) -> None:
    del scene
    call("prctl", 38, 0, 0, 0, 0, label="PR_SET_NO_NEW_PRIVS 0")
    note("no_new_privs is not set", 0 if quietly("prctl", 39, 0, 0, 0, 0) != 1 else -1)


@attack(
    "runs a setuid file of its own making",
    "setuid bits in a work directory",
    needs=("uid", "machine", "box"),
    exits_as_user=True,
)
def setuid_copy(scene: Scene) -> None:
    del scene
    with open("/box/tiny", "wb") as f:
        f.write(tiny_program(os.uname().machine))
    with contextlib.suppress(OSError):
        os.chown("/box/tiny", 0, 0)
    os.chmod("/box/tiny", 0o6755)
    act("execve", os.execv, "/box/tiny", ["tiny"])


@attack("gives a file capabilities", "file capabilities instead of setuid")
def file_capabilities(scene: Scene) -> None:
    del scene
    with contextlib.suppress(OSError):
        with open("/tmp/program", "wb") as f:
            f.write(b"x")
    value = struct.pack("<5I", 0x02000001, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0)
    act("setxattr security.capability", os.setxattr, "/tmp/program", b"security.capability", value)


LIMITS = ("NOFILE", "FSIZE", "CPU", "CORE", "STACK", "AS", "RTPRIO", "NICE", "MEMLOCK", "MSGQUEUE")


@attack("raises its own limits", "a limit that the program can lift")
def raise_limits(scene: Scene) -> None:
    del scene
    for name in LIMITS:
        which = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            for new in (hard + 1, resource.RLIM_INFINITY):
                try:
                    resource.setrlimit(which, (new, new))
                    note(f"RLIMIT_{name} {hard} -> {new}", 0)
                except (OSError, ValueError):
                    note(f"RLIMIT_{name}", -1, 1)


@attack("takes real-time or better priority", "a real-time process stops all others")
def priority(scene: Scene) -> None:
    del scene
    for name in ("SCHED_FIFO", "SCHED_RR"):
        act(name, os.sched_setscheduler, 0, getattr(os, name), os.sched_param(1))
    deadline = struct.pack("<IIQiIQQQ", 48, 6, 0, 0, 0, 10**6, 10**7, 10**7)
    call("sched_setattr", 0, deadline, 0, label="SCHED_DEADLINE")
    act("nice -5", os.setpriority, os.PRIO_PROCESS, 0, -5)


@attack("weakens its own address space", "personality(2): READ_IMPLIES_EXEC, MMAP_PAGE_ZERO", errnos=REFUSED)
def personality(scene: Scene) -> None:
    del scene
    for name, value in (
        ("READ_IMPLIES_EXEC", 0x400000),
        ("MMAP_PAGE_ZERO", 0x100000),
        ("PER_LINUX32", 8),
        ("UNAME26", 0x20000),
    ):
        call("personality", value, label=name)


@attack("calls by a number of the x32 ABI", "firejail: filters that forgot x32", errnos=("ENOSYS",), needs=("x86_64",))
def x32(scene: Scene) -> None:
    del scene
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(0x40000000 | 39))
    note("x32 getpid", result, ctypes.get_errno())


@attack("lowers its core limit, which a piped core_pattern takes for a wish to have a core",
        "core(5): the host's handler, root's, is skipped at exactly 1", errnos=REFUSED)  # fmt: skip
def core_handler(scene: Scene) -> None:
    del scene
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1] & (1 << 64) - 1
    call("prlimit64", 0, resource.RLIMIT_CORE, struct.pack("<QQ", 0, hard), 0, label="RLIMIT_CORE 0")
