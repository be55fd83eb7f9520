"""Why a cgroup gives us nothing, and the command that changes it. Every text that a user sees about this is here."""

from __future__ import annotations

import errno

from pyjail._base.records import NamedTuple

SCOPE = "systemd-run --user --scope -p Delegate=yes env PYJAIL_ENTER_LEAF=1 PROGRAM"
UNIT = "Delegate=yes in the unit (or systemd-run --scope -p Delegate=yes PROGRAM)"
ENTER = "call pyjail.cgroup.enter_leaf() before the first run, or set PYJAIL_ENTER_LEAF=1 in the environment"
WRITABLE = (
    "in a container: docker run --security-opt writable-cgroups=true, podman run --security-opt unmask=/sys/fs/cgroup, "
    "kubernetes: cgroup_writable of containerd"
)


class Refusal(NamedTuple):
    """A controller that no cgroup gives us here, why, and what to do. "" is what v2 gives without a controller."""

    controller: str
    cause: str
    fix: str


class Situation(NamedTuple):
    """What trying showed. ``step``: "absent" (not in cgroup.controllers), "bound" (to v1, which cannot do it), "mkdir",
    "enable", "procs" or "v1"."""

    step: str
    own: str
    mount: str
    errno: int = 0
    pids: tuple[int, ...] = ()  # in ``own`` besides ourselves
    uid: int = 0
    owner: int = 0
    stops_at: str = ""  # the highest cgroup in sight that has the controller and does not hand it down
    root: bool = False  # ``mount`` is the kernel's own root
    systemd: bool = False
    hidden: bool = False  # something else is mounted over ``mount``


def explain(controller: str, s: Situation) -> Refusal:
    """Cause and fix of one controller's absence."""
    cause, fix = _STEPS[s.step](controller, s)
    return Refusal(controller, cause, fix)


def _absent(controller: str, s: Situation) -> tuple[str, str]:
    if s.stops_at:
        return (
            f"{s.own}/cgroup.controllers has no {controller}: {s.stops_at}/cgroup.subtree_control lacks it",
            f"as root: echo +{controller} > {s.stops_at}/cgroup.subtree_control; under systemd: {UNIT}",
        )
    cause = f"{s.mount}/cgroup.controllers has no {controller}"
    if s.root:
        return f"{cause}: this kernel has it switched off", f"boot with cgroup_enable={controller} (see /proc/cgroups)"
    return (
        f"{cause}: whoever made this container does not hand it down",
        "delegate it to the container; for a user's containers: Delegate=cpu cpuset io memory pids "
        "in /etc/systemd/system/user@.service.d/delegate.conf",
    )


def _mkdir(controller: str, s: Situation) -> tuple[str, str]:
    del controller
    if s.errno == errno.EROFS:
        return (
            f"{s.mount} is mounted read-only",
            f"mount -o remount,rw {s.mount}; {WRITABLE}",
        )
    if s.errno in (errno.EACCES, errno.EPERM):
        return f"the cgroup {s.own} belongs to uid {s.owner}, this process is uid {s.uid}", _own_subtree(s)
    if s.errno in (errno.EAGAIN, errno.ENOSPC):
        return (
            f"{s.own} may not have more cgroups below it (cgroup.max.descendants, cgroup.max.depth, or 65535 in all)",
            f"echo max > {s.own}/cgroup.max.descendants (and the same in the cgroups above), or remove old cgroups",
        )
    if s.hidden:
        fix = f"umount what is over it, or start this program outside of the sandbox that covers {s.mount}"
        return f"{s.mount} is covered by another mount, so our own cgroup is out of reach", fix
    if s.errno == errno.ENOENT:
        return f"our own cgroup {s.own} has been removed", "start this program in a cgroup that stays"
    return f"mkdir in {s.own} fails: errno {errno.errorcode.get(s.errno, s.errno)}", _own_subtree(s)


def _own_subtree(s: Situation) -> str:
    if s.systemd:
        return f"run as root, or in a cgroup of your own: {SCOPE}"
    made = f"{s.mount}/pyjail"
    files = " ".join(f"{made}/cgroup.{n}" for n in ("procs", "threads", "subtree_control"))
    return (
        f"run as root, or have root delegate a cgroup: mkdir {made}; chown {s.uid} {made} {files}; "
        f"echo PID > {made}/cgroup.procs; then PYJAIL_ENTER_LEAF=1. Under systemd: {SCOPE}"
    )


def _enable(controller: str, s: Situation) -> tuple[str, str]:
    file = f"{s.own}/cgroup.subtree_control"
    if s.errno == errno.EBUSY:
        cause = f"{file} takes no +{controller} while processes are in {s.own} itself (no internal processes)"
        if not s.pids:
            return f"{cause}: this one is", f"{ENTER}: it moves this process, and no other, into a leaf below"
        others = " ".join(map(str, s.pids))
        return (
            f"{cause}: this one, and {others}",
            f"move those (mkdir {s.own}/others; for p in {others}; do echo $p > {s.own}/others/cgroup.procs; done), "
            f"then {ENTER}; or start this program in a cgroup of its own: systemd-run --scope -p Delegate=yes PROGRAM",
        )
    if s.errno in (errno.EACCES, errno.EPERM):
        return f"{file} is not writable for uid {s.uid}", f"as root: chown {s.uid} {file}; under systemd: {UNIT}"
    if s.errno == errno.EOPNOTSUPP:
        return f"{s.own} is a threaded cgroup, which has no {controller}", "start this program in a domain cgroup"
    return f"{file} refuses +{controller}: {errno.errorcode.get(s.errno, s.errno)}", UNIT


def _procs(controller: str, s: Situation) -> tuple[str, str]:
    del controller
    file = f"{s.own}/cgroup.procs"
    return (
        f"{file} is not writable for uid {s.uid}, so nothing can be started in a cgroup below it",
        f"as root: chown {s.uid} {file}; under systemd: {UNIT}",
    )


def _v1(controller: str, s: Situation) -> tuple[str, str]:
    return (
        f"{controller} is a cgroup v1 controller here, and {s.own} belongs to uid {s.owner}",
        "run as root, or boot with systemd.unified_cgroup_hierarchy=1 (cgroup v2), where a user can be given a "
        f"cgroup: {SCOPE}",
    )


def _bound(controller: str, s: Situation) -> tuple[str, str]:
    return (
        f"{controller} is bound to the cgroup v1 hierarchy {s.mount}, and only v2 has {controller}.max",
        "boot with cgroup v2 only: systemd.unified_cgroup_hierarchy=1 (without systemd: cgroup_no_v1=all)",
    )


_STEPS = {"absent": _absent, "bound": _bound, "mkdir": _mkdir, "enable": _enable, "procs": _procs, "v1": _v1}


def unmounted(controller: str, v1: bool = False) -> Refusal:
    """No hierarchy in sight has it. ``v1``: it is one of cgroup v1's here."""
    cause = f"no cgroup file system with {controller or 'anything'} is mounted here"
    where = f"/sys/fs/cgroup/{controller}"
    fix = f"mkdir -p {where}; {_mount(controller, where)}" if v1 else _mount("", "/sys/fs/cgroup")
    return Refusal(controller, cause, fix)


def elsewhere(controller: str, v1: str, mount: str, root: str, own: str) -> Refusal:
    """The hierarchy is mounted, but does not show our own cgroup. ``v1``: its controllers, "" for v2; ``root``: what it
    shows."""
    if root.startswith("/.."):
        cause = f"{mount} was mounted outside of this cgroup namespace: our own cgroup has no name there"
    else:
        cause = f"{mount} shows the cgroup {root}, and this process is in {own}, which is not below it"
    again = f"umount {mount} && {_mount(v1, mount)}"
    here = "or start this program in the cgroup namespace that it was mounted in"
    return Refusal(controller, cause, f"in a mount namespace of its own (unshare --mount): {again}; {here}")


def _mount(v1: str, where: str) -> str:
    return f"mount -t cgroup -o {v1} cgroup {where}" if v1 else f"mount -t cgroup2 cgroup2 {where}"
