"""Rows about namespaces, mounts and filters: each by an attempt of its own, explained by _policy/obstacles.py."""

from __future__ import annotations

import errno
import os
import sys

from pyjail._doctor.examination import Examination
from pyjail._doctor.finding import NO, PARTLY, WORKS, Finding
from pyjail._host.machine import Host
from pyjail._policy import advice, obstacles
from pyjail._policy.obstacles import Obstacle

# (layer, name in attempts.py, what works then, the keeper's step and row that meet the same refusal)
_USER = ("private", 0)
_STEPS = {
    "clone3": ("clone", None),
    "user": _USER,
    "mounts": ("mount", 1),
    "proc": ("proc", None),
    "network": ("namespaces", None),
    "others": ("namespaces", None),
    "keeper_file": ("keeper_exec", None),
}


def explain(name: str, call: str, number: int, host: Host) -> Obstacle:
    """Cause and fix of a failed attempt."""
    if number < 0:
        return Obstacle(name, f"a seccomp filter around this process kills whoever calls {call}", obstacles.UNCONFINE)
    if call == "unshare user" and name != "user":
        return Obstacle(name, "not tried: see user namespaces", "")
    step, index = _STEPS.get(name, (name, None))
    if name == "proc" and call != "fsmount":  # a masked /proc shows in fsmount(2); before it, the mount calls fail
        step, index = _STEPS["mounts"]
    if call == "sethostname":
        step = call.removeprefix("set")
    elif name in ("network", "others") and number != errno.ENOSPC:
        step, index = _USER
    found = obstacles.find(step, index, number, host)
    if found is None:
        cause = f"{call}: {errno.errorcode.get(number, number)} ({os.strerror(number)})" if number else call
        fix = obstacles.UNCONFINE if host.seccomp else ""
        if call.startswith("unshare ") and number == errno.EINVAL:
            fix = f"a kernel with CONFIG_{call.split()[1].upper()}_NS"
        found = Obstacle(name, cause, fix)
    if found.fix == obstacles.APPARMOR:
        found = found._replace(fix=advice.apparmor_profile(os.path.realpath(sys.executable)))
    return found


def _tried(x: Examination, layer: str, name: str, works: str) -> Finding:
    failure = x.attempts[name]
    if failure is None:
        return Finding(layer, WORKS, works)
    found = explain(name, *failure, x.host)
    return Finding(layer, NO, found.cause, found.fix)


def clone3(x: Examination) -> Finding:
    return _tried(x, "clone3", "clone3", "a process was started by it")


def user_namespaces(x: Examination) -> Finding:
    return _tried(x, "user namespaces", "user", "one was made")


def mounts(x: Examination) -> Finding:
    return _tried(x, "mounts", "mounts", "fsopen, open_tree, move_mount, mount_setattr and pivot_root into a new root")


def proc(x: Examination) -> Finding:
    return _tried(x, "proc", "proc", "a fresh /proc of a new pid namespace")


def network(x: Examination) -> Finding:
    return _tried(x, "network namespace", "network", "one was made")


def others(x: Examination) -> Finding:
    return _tried(
        x, "other namespaces", "others", "pid, ipc, uts and cgroup namespaces were made, and a hostname in them"
    )


def keeper(x: Examination) -> Finding:
    """From a sealed memfd nothing on disk can be replaced under us; the installed file is the way round."""
    memfd, file = x.attempts["keeper_memfd"], x.attempts["keeper_file"]
    if memfd is None:
        return Finding("keeper", WORKS, "executed from a sealed memfd")
    found = explain("keeper_file", *(file or memfd), x.host)
    if file is None:
        call, number = memfd
        cause = f"no memfd can be executed ({call}: {errno.errorcode.get(number, number)}): the installed file is used"
        return Finding("keeper", PARTLY, cause, found.fix)
    return Finding("keeper", NO, found.cause, found.fix)


def seccomp(x: Examination) -> Finding:
    """The filter, and the listener by which the keeper learns what was refused."""
    plain, listener = x.attempts["seccomp"], x.attempts["seccomp_listener"]
    if plain is None and listener is not None and listener[1] == errno.EBUSY:
        cause = "a filter around this process has a listener already, and the kernel allows one only"
        return Finding("seccomp", NO, cause, obstacles.UNCONFINE)
    name = "seccomp" if plain is not None else "seccomp_listener"
    return _tried(x, "seccomp", name, "a filter with user notification was installed")


_SINCE = ((4, "no rules for TCP", "6.7"), (6, "no scopes for signals and abstract sockets", "6.12"))


def landlock(x: Examination) -> Finding:
    abi, failure = x.host.landlock_abi, x.attempts["landlock"]
    if abi < 1 or (failure is not None and failure[1] in (errno.ENOSYS, errno.EOPNOTSUPP)):
        cause = "this kernel has no Landlock, or it is not in the lsm= boot list; jails run with one fence less"
        return Finding("landlock", NO, cause, "boot with lsm=landlock,... (CONFIG_SECURITY_LANDLOCK, Linux 5.13)")
    if failure is not None:
        return _tried(x, "landlock", "landlock", "")
    lacks = [(what, since) for need, what, since in _SINCE if abi < need]
    if lacks:
        why = f"ABI {abi}: " + ", ".join(what for what, _ in lacks)
        return Finding("landlock", PARTLY, why, f"Linux {lacks[-1][1]} or newer")
    return Finding("landlock", WORKS, f"ABI {abi}, a ruleset was put on")
