"""Kernel surface: system calls that a jailed program has no use for. Each must be refused by the filter itself.

The arguments are chosen so that a call that gets past the filter does no harm and, where the kernel's code looks at
them before it asks for a capability, says so by an errno of its own (EFAULT, EINVAL, EBADF).
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

from pyjail._selftest.attacks.toolkit import REFUSED, Scene, attack, call, note, quietly

BAD = 1  # no address
Call = tuple[Any, ...]


def refused(name: str, tries: str, stands_for: str, *calls: Call, errnos: tuple[str, ...] = REFUSED,
            needs: tuple[str, ...] = ()) -> None:  # fmt: skip
    """Declare an attempt that is nothing but calls: (name, *arguments)."""

    @attack(tries, stands_for, errnos=errnos, needs=needs, name=name)
    def attempt(scene: Scene) -> None:
        del scene
        for name_, *args in calls:
            call(name_, *args)


refused("bpf", "loads BPF programs and makes maps", "CVE-2020-8835, CVE-2021-3490",
        ("bpf", 0, BAD, 128), ("bpf", 5, BAD, 128), ("bpf", 9999, bytes(128), 128))  # fmt: skip
refused("perf", "opens performance counters", "CVE-2013-2094; kernel addresses", ("perf_event_open", BAD, 0, -1, -1, 0))
refused(
    "userfaultfd",
    "holds the kernel at a page of its choice",
    "holds kernel threads at a chosen instant: an exploitation aid",
    ("userfaultfd", 1),
    ("userfaultfd", 0),
)
refused("io_uring", "sets up io_uring", "CVE-2022-29582, CVE-2023-2598; works around filters",
        ("io_uring_setup", 1, bytes(120)), ("io_uring_setup", 1, BAD), ("io_uring_enter", -1, 0, 0, 0, 0, 0),
        ("io_uring_register", -1, 0, 0, 0))  # fmt: skip
refused("keyrings", "uses keyrings", "CVE-2016-0728; keys are not namespaced by pid or ipc",
        ("add_key", b"user\0", b"pyjail\0", b"x", 1, -2), ("keyctl", 0, -3, 1), ("keyctl", 0, -4, 1),
        ("request_key", b"user\0", b"pyjail\0", None, 0))  # fmt: skip
refused(
    "kexec",
    "loads another kernel",
    "kexec_load",
    ("kexec_load", 0, 0, None, -1),
    ("kexec_file_load", -1, -1, 0, None, 0xFFFF),
)
refused("modules", "loads and removes kernel modules", "init_module", ("init_module", BAD, 0, BAD),
        ("finit_module", -1, BAD, 0), ("delete_module", BAD, 0))  # fmt: skip
refused("swap", "changes swap space", "swapon, swapoff", ("swapon", BAD, 0), ("swapoff", BAD))
refused("quota", "changes quotas", "quotactl(2)", ("quotactl", 0xFFFFFFFF, BAD, 0, None),
        ("quotactl_fd", -1, 0xFFFFFFFF, 0, None))  # fmt: skip
refused("accounting", "switches process accounting", "acct: root writes a file for everybody's exit", ("acct", BAD))
refused("reboot", "reboots", "reboot(2)", ("reboot", 0, 0, 0, None))
refused("clock", "sets the clock", "isolate 2.2: a clock that steps during a run", ("settimeofday", BAD, None),
        ("clock_settime", 0, BAD), ("adjtimex", BAD), ("clock_adjtime", 0, BAD))  # fmt: skip
refused(
    "names",
    "renames the machine",
    "sethostname: state that outlives a run",
    ("sethostname", BAD, 1),
    ("setdomainname", BAD, 1),
)
refused("log", "reads the kernel's log", "addresses in dmesg", ("syslog", 3, None, 0), ("syslog", 10, None, 0))
refused(
    "segments",
    "changes its descriptor table",
    "CVE-2017-17053: modify_ldt",
    ("modify_ldt", 0, None, 0),
    ("modify_ldt", 1, BAD, 16),
)
refused(
    "ports",
    "gets at I/O ports",
    "iopl, ioperm",
    ("iopl", 9),
    ("iopl", 3),
    ("ioperm", 1 << 20, 1, 1),
    ("ioperm", 0, 1, 1),
)
refused(
    "numa",
    "places and moves memory",
    "migrate_pages and move_pages of others",
    ("mbind", 0, 4096, 9999, None, 0, 0),
    ("set_mempolicy", 9999, None, 0),
    ("migrate_pages", 0, 0, None, None),
    ("move_pages", 0, 0, None, None, None, 0),
)
refused(
    "fanotify",
    "watches what is opened on the machine",
    "fanotify tells what the host opens and executes",
    ("fanotify_init", 0, 0),
    ("fanotify_init", 0x200, 0),
)
refused(
    "inotify", "watches what others do with shared files", "isolate 2.6: channels between jails", ("inotify_init1", 0)
)
refused(
    "obsolete",
    "uses calls that nobody needs",
    "lookup_dcookie, uselib, ustat, sysfs, vhangup",
    ("lookup_dcookie", 0, BAD, 1),
    ("uselib", BAD),
    ("ustat", 0, BAD),
    ("sysfs", 3),
    ("remap_file_pages", 0, 0, 0, 0, 0),
)
refused(
    "secret_memory",
    "has memory that the kernel cannot look at",
    "memfd_secret",
    ("memfd_secret", 0),
    ("memfd_secret", 0xFFFF),
)
refused(
    "security_modules",
    "asks and tells security modules",
    "CVE-2025-52881: labels written elsewhere",
    ("lsm_list_modules", BAD, BAD, 0),
    ("lsm_get_self_attr", 0, BAD, BAD, 0),
    ("lsm_set_self_attr", 0, BAD, 0, 0),
)
refused(
    "filters",
    "installs filters of its own",
    "memory of the kernel that no cgroup pays for",
    ("seccomp", 1, 0, BAD),
    ("seccomp", 1, 8, BAD),
    ("prctl", 22, 2, BAD),
)
refused("leases", "leases and watches shared files", "F_SETLEASE delays others, F_NOTIFY tells of them",
        ("fcntl", 0, 1024, 0), ("fcntl", 0, 1026, 1))  # fmt: skip
refused(
    "page_cache",
    "asks which parts of shared files others have read",
    "CVE-2019-5489: the page cache as a channel",
    ("cachestat", 0, bytes(16), bytes(40), 0),
    ("preadv2", 0, None, 0, 0, 0, 8),
    errnos=(*REFUSED, "ENOTSUP"),
)


refused(
    "merged_pages",
    "has its pages merged with those of others",
    "KSM tells by timing what others have in memory",
    ("madvise", 0, 4096, 12),
    ("madvise", 0, 4096, 25),
    errnos=(*REFUSED, "EINVAL"),
)


@attack(
    "has huge pages, which no memory limit counts",
    "hugetlb is outside of the memory controller",
    errnos=(*REFUSED, "ENOMEM"),
)
def huge_pages(scene: Scene) -> None:
    del scene
    call("mmap", 0, 1 << 21, 3, 0x40022, -1, 0, label="mmap(MAP_HUGETLB)")
    call("memfd_create", b"x\0", 4, label="memfd_create(MFD_HUGETLB)")
    call("shmget", 0, 1 << 21, 0o4600, label="shmget(SHM_HUGETLB)")


FAMILIES = {
    "AX25": 3, "IPX": 4, "APPLETALK": 5, "X25": 9, "KEY": 15, "NETLINK": 16, "PACKET": 17, "RDS": 21, "PPPOX": 24,
    "LLC": 26, "IB": 27, "CAN": 29, "TIPC": 30, "BLUETOOTH": 31, "RXRPC": 33, "PHONET": 35, "ALG": 38, "NFC": 39,
    "VSOCK": 40, "KCM": 41, "QIPCRTR": 42, "SMC": 43, "XDP": 44,
}  # fmt: skip


@attack("makes sockets of rare families", "CVE-2020-14386, CVE-2021-26708, CVE-2024-50264, CVE-2022-27666",
        errnos=(*REFUSED, "EAFNOSUPPORT"))  # fmt: skip
def socket_families(scene: Scene) -> None:
    del scene
    for name, family in FAMILIES.items():
        for kind in (1, 2, 3, 5):
            call("socket", family, kind, 0, label=f"AF_{name}")


@attack(
    "makes raw sockets, SCTP, MPTCP and the like", "CVE-2019-8956; forged packets", errnos=(*REFUSED, "EAFNOSUPPORT")
)
def raw_sockets(scene: Scene) -> None:
    del scene
    for family in (2, 10):
        for kind, protocol in ((3, 1), (3, 58), (3, 255), (1, 132), (5, 132), (1, 262), (2, 136), (6, 33)):
            call("socket", family, kind, protocol, label=f"socket({family}, {kind}, {protocol})")


OPTIONS = (
    ("ATTACH_FILTER", 1, 26), ("ATTACH_BPF", 1, 50), ("REUSEPORT_CBPF", 1, 51), ("REUSEPORT_EBPF", 1, 52),
    ("TCP_ULP", 6, 31), ("TCP_MD5SIG", 6, 14), ("TCP_MD5SIG_EXT", 6, 32), ("TCP_AO_ADD_KEY", 6, 38),
    ("FLOWLABEL_MGR", 41, 32), ("IPV6_ADD_MEMBERSHIP", 41, 20), ("MCAST_JOIN_GROUP", 0, 42),
)  # fmt: skip


@attack(
    "attaches programs and modules to sockets",
    "SO_ATTACH_FILTER, TCP_ULP, IPV6_FLOWLABEL_MGR, TCP_MD5SIG",
    errnos=REFUSED,
)
def socket_options(scene: Scene) -> None:
    del scene
    for name, level, option in OPTIONS:
        call("setsockopt", -1, level, option, BAD, 16, label=name)


@attack("calls what does not exist yet", "new calls are new surface: the answer is ENOSYS", errnos=("ENOSYS",))
def unknown_calls(scene: Scene) -> None:
    del scene
    libc = ctypes.CDLL(None, use_errno=True)
    for number in (470, 480, 500, 511, 600, 1023, 4095):
        ctypes.set_errno(0)
        note(f"call {number}", libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0), ctypes.get_errno())


@attack("waits for the host's disks", "sync(2): no signal ends it, no limit of time holds", errnos=REFUSED)
def disks(scene: Scene) -> None:
    del scene
    call("sync")
    call("syncfs", os.open("/usr", os.O_RDONLY | os.O_CLOEXEC))


@attack(
    "flushes the host's disks through files that it only reads",
    "fsync(2): thousands of flushes a second, and no signal ends the wait",
    errnos=REFUSED,
    needs=("no_disk",),
)
def flushes(scene: Scene) -> None:
    """The filter says 0 where the kernel would say that there is no such file, and no such memory."""
    del scene
    for name, *args in (("fsync", -1), ("fdatasync", -1), ("sync_file_range", -1, 0, 0, 7), ("msync", 4096, 4096, 4)):
        result = quietly(name, *args)
        note(name, -1, -result or errno.EPERM, name)


REQUESTS = {
    "SIOCGIFBR": 0x8940, "SIOCSIFBR": 0x8941, "SIOCGIFVLAN": 0x8982, "SIOCSIFVLAN": 0x8983, "SIOCBRADDBR": 0x89A0,
    "SIOCETHTOOL": 0x8946, "FS_IOC_GETFSUUID": 0x80111500, "EXT4_IOC_GETFSUUID": 0x8008662C,
    "FS_IOC_GETFSSYSFSPATH": 0x80811501, "FS_IOC_FIEMAP": 0xC020660B, "BTRFS_IOC_SYNC": 0x9408,
    "PIDFD_GET_INFO": 0xC050FF0B, "NS_GET_PARENT": 0xB702,
}  # fmt: skip


@attack("asks files and sockets for what is beyond them", "request_module without a capability; UUIDs, cgroup ids",
        errnos=(*REFUSED, "ENOTTY"))  # fmt: skip
def requests(scene: Scene) -> None:
    del scene
    for name, request in REQUESTS.items():
        call("ioctl", -1, request, BAD, label=name)


@attack("asks sockets for numbers that count for the machine", "SO_COOKIE: how many sockets others have made",
        errnos=REFUSED)  # fmt: skip
def cookies(scene: Scene) -> None:
    del scene
    for name, option in (("SO_COOKIE", 57), ("SO_NETNS_COOKIE", 71)):
        call("getsockopt", -1, 1, option, BAD, BAD, label=name)
