"""What of the machine only some jails, a refusal and the doctor ask for: disks, who may read what, and what an
administrator has switched off."""

from __future__ import annotations

import os
import stat

from pyjail._base.fds import not_ours
from pyjail._host.machine import Host, names_in, octal, read

_KINDS = ("user", "mnt", "pid", "ipc", "net", "uts", "cgroup")  # namespaces(7)


def _sysctl(name: str) -> int:
    text = read(f"/proc/sys/{name}").strip()
    return int(text) if text.isdigit() else -1


def open_to_all(path: str) -> bool:
    """Whether everybody may read it (and pass it, a directory); what is below it is not looked at."""
    try:
        mode = os.stat(path).st_mode
    except OSError as e:
        not_ours(e)
        return False
    need = 0o005 if stat.S_ISDIR(mode) else 0o004
    return mode & need == need


def owner(path: str) -> tuple[int, int]:
    """(uid, gid) of a directory."""
    found = os.stat(path)
    return found.st_uid, found.st_gid


def mounted_below(path: str) -> str:
    """Something that is mounted below this directory, a real path; "" when nothing is, or when it cannot be read."""
    points = [octal(line.split(" ", 5)[4]) for line in read("/proc/self/mountinfo").splitlines()]
    return next((point for point in points if point.startswith(path.rstrip("/") + "/")), "")


def disks() -> tuple[str, ...]:
    """Whole disks, as MAJOR:MINOR: io.max takes no partitions; a loop or memory disk is limited by what is below it."""
    names = [n for n in sorted(names_in("/sys/block")) if not n.startswith(("loop", "ram", "zram"))]
    return tuple(
        read(f"/sys/block/{n}/dev").strip() for n in names if read(f"/sys/block/{n}/size").strip() not in ("", "0")
    )


def with_switches(host: Host) -> Host:
    """With what an administrator has switched off, as it is now; no run that succeeds needs to know."""
    return host._replace(
        namespaces_off=tuple(kind for kind in _KINDS if _sysctl(f"user/max_{kind}_namespaces") == 0),
        userns_clone=_sysctl("kernel/unprivileged_userns_clone"),  # of Debian's kernels
        # It restricts unprivileged user namespaces: Ubuntu 23.10 and later.
        apparmor=_sysctl("kernel/apparmor_restrict_unprivileged_userns") == 1,
    )


def time_namespaces() -> bool:
    """Whether this kernel makes some."""
    return os.path.exists("/proc/self/timens_offsets") and _sysctl("user/max_time_namespaces") != 0
