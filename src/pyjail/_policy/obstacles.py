"""What on this host keeps a jail from being built: which step fails how, why that is, and what to do about it."""

from __future__ import annotations

import errno

from pyjail._base.records import NamedTuple
from pyjail._host.machine import Host

# What a keeper calls and Docker's own profile leaves out; nothing else of the kind.
CALLS = (
    "clone3", "unshare", "open_tree", "move_mount", "mount_setattr", "fsopen", "fsconfig", "fsmount", "umount2",
    "pivot_root", "sethostname",
)  # fmt: skip
UNCONFINE = (
    f"allow {', '.join(CALLS)} in it (docs/doctor.md has a profile), or go without: docker or podman run "
    "--security-opt seccomp=unconfined; kubernetes: seccompProfile.type Unconfined; a systemd unit: no "
    "SystemCallFilter=, no RestrictNamespaces="
)
APPARMOR = (
    "an AppArmor profile for this interpreter, which `pyjail doctor` prints; for all programs of the machine: "
    "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
)
MORE_NAMESPACES = "sysctl -w user.max_user_namespaces=15000 (and the same of max_mnt_, max_pid_, max_net_namespaces)"
# Steps that need nothing which a filter of today refuses, and what those of old do not know.
_OLD_FILTERS = {
    "keeper_exec": "close_range or execveat",
    "init": "signalfd4 or prctl",
    "seccomp": "seccomp or getrandom",
}
NEWER_FILTER = (
    "a container engine whose profile knows the calls of Linux 5.14 (Docker 20.10.10 and newer), or docker or podman "
    "run --security-opt seccomp=unconfined"
)
UNNEST = "start this program without what forbids them (bwrap --disable-userns, a sandbox in a sandbox)"
ALL_IDS = (1 << 32) - 1  # that the first user namespace has


class Obstacle(NamedTuple):
    """What cannot be had, why, and the fix."""

    control: str
    cause: str
    fix: str


def find(step: str, index: int | None, number: int, host: Host) -> Obstacle | None:
    """The obstacle behind a failed step; None when it is no matter of the host."""
    refused = number in (errno.EPERM, errno.EACCES)
    if host.seccomp and number in (errno.EPERM, errno.ENOSYS) and step in _OLD_FILTERS and (step, index) != ("init", 0):
        cause = f"a seccomp filter around this process refuses {_OLD_FILTERS[step]}"
        return Obstacle("seccomp" if step == "seccomp" else "keeper", cause, NEWER_FILTER)
    if step in ("clone", "init", "fork") and (number == errno.ENOSYS or (refused and host.seccomp)):
        return _clone3(host)
    if step in ("private", "idmap", "namespaces", "run_namespaces") and number == errno.ENOSPC:
        return _no_more_namespaces(host)
    if step == "idmap" or (step in ("private", "namespaces") and index == 0):
        return _user_namespaces(number, host)
    if step == "namespaces" and refused:
        if host.seccomp:
            cause = "a seccomp filter around this process refuses unshare(CLONE_NEWNET)"
            return Obstacle("network namespace", cause, UNCONFINE)
        return Obstacle("network namespace", "a security module refuses it", "allow it there: dmesg names the module")
    if step == "seccomp" and number == errno.EBUSY:
        return Obstacle(
            "seccomp",
            "a seccomp filter with a listener is around this process already, and the kernel allows one",
            "start this program outside of what watches its system calls; or Jail(seccomp='none')",
        )
    if step == "proc" and refused:
        return Obstacle(
            "proc",
            "the /proc here is masked or not there (a container?), so the kernel refuses a fresh one",
            "Jail(proc=False); or unmask it: docker run --security-opt systempaths=unconfined, podman run "
            "--security-opt unmask=/proc/*, kubernetes: procMount Unmasked",
        )
    if step == "hostname" and refused:
        return Obstacle("hostname", "a seccomp filter around this process refuses sethostname", UNCONFINE)
    if step in ("private", "source", "mount", "newroot", "pivot", "run_mount", "tmpfs") and (
        refused or number == errno.ENOSYS
    ):
        # Of a source, open(2) says EACCES, which is about that one; open_tree(2) EPERM.
        filtered = number == errno.ENOSYS or (number == errno.EPERM and host.seccomp)
        return _mounts(number, host) if step != "source" or filtered else None
    if step == "private" and number == errno.EINVAL:
        return _chroot()
    if step == "keeper_exec" and refused:
        return Obstacle(
            "keeper",
            "neither a memfd (sysctl vm.memfd_noexec is 2) nor the installed file may be executed here",
            "sysctl -w vm.memfd_noexec=1, or install pyjail on a file system that is not mounted noexec",
        )
    return None


def _clone3(host: Host) -> Obstacle:
    if host.seccomp:
        return Obstacle("clone3", "a seccomp filter around this process refuses clone3", UNCONFINE)
    return Obstacle("clone3", f"Linux {host.kernel} has no clone3 with CLONE_INTO_CGROUP", "Linux 5.14 or newer")


def _no_more_namespaces(host: Host) -> Obstacle:
    for kind in host.namespaces_off:
        cause = f"they are switched off: sysctl user.max_{kind}_namespaces is 0"
        return Obstacle(f"{kind} namespaces", cause, MORE_NAMESPACES)
    cause = "sysctl user.max_user_namespaces (or one of its like) is used up, or they are nested too deeply"
    if sum(count for _, count in host.uid_ranges) < ALL_IDS:  # a namespace has the limits of all that it is in
        cause = f"a user namespace around this one allows no more of them: {cause}"
        return Obstacle("user namespaces", cause, f"{UNNEST}; or there: {MORE_NAMESPACES}")
    return Obstacle("user namespaces", cause, MORE_NAMESPACES)


def _user_namespaces(number: int, host: Host) -> Obstacle | None:
    name = "user namespaces"
    if number == errno.ENOSYS and host.seccomp:
        return Obstacle(name, "a seccomp filter around this process refuses unshare", UNCONFINE)
    if number not in (errno.EPERM, errno.EACCES):
        return None
    if host.userns_clone == 0:
        return Obstacle(
            name, "sysctl kernel.unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1"
        )
    if host.seccomp:
        return Obstacle(name, "a seccomp filter around this process refuses unshare(CLONE_NEWUSER)", UNCONFINE)
    if host.apparmor:
        return Obstacle(name, "AppArmor restricts unprivileged user namespaces", APPARMOR)
    return _chroot()._replace(cause="the kernel refuses them, as it does in a chroot, or a security module does")


def _chroot() -> Obstacle:
    return Obstacle(
        "user namespaces",
        "this process is in a chroot, where the kernel refuses them",
        "enter that root by pivot_root(2) instead, as containers do; or look for a denial in the kernel's log (dmesg)",
    )


def _mounts(number: int, host: Host) -> Obstacle:
    if number == errno.ENOSYS and not host.seccomp:
        return Obstacle("mounts", f"Linux {host.kernel} has no mount_setattr", "Linux 5.14 or newer")
    if host.apparmor:
        cause = "AppArmor lets the user namespace be made, but no mounts in it"
        return Obstacle("mounts", cause, APPARMOR)
    if host.seccomp:
        return Obstacle("mounts", "a seccomp filter around this process refuses the mount calls", UNCONFINE)
    return Obstacle(
        "mounts",
        "the user namespace could be made, but no mounts in it: a security module or a Landlock sandbox forbids them",
        "allow `mount` and `userns` for this interpreter (dmesg names the module), or start it outside of the sandbox",
    )
