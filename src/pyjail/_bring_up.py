"""What the cgroups give us here, found by doing: a directory is made, each controller is asked for, and what is
refused is explained. Nothing outside of our own cgroup is touched, and nobody is moved but by `enter_leaf`."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
from collections.abc import Callable

from pyjail import _cgroup, _host, _owner
from pyjail._errors import HostError
from pyjail._fds import not_ours
from pyjail._host import Above, Hierarchy, Host, Refusal
from pyjail.policy import cgroup, delegation
from pyjail.policy.delegation import Situation

CONTROLLERS = ("memory", "pids", "cpu", "io", "cpuset")
V1 = ("memory", "pids", "cpu", "cpuacct", "cpuset")
PASSING = (errno.ENOSPC, errno.EAGAIN)
Why = dict[str, Callable[[], Refusal]]  # by controller; asked when no other hierarchy gives it


def bring_up(host: Host, cpuset: bool = True) -> Host:
    """``host`` with the hierarchies that work, what each gives, why others do not, and the limits above us.

    ``cpuset``: whether that controller is wanted, too: on v1 it is a tree of its own.
    """
    if os.environ.get("PYJAIL_ENTER_LEAF", "") not in ("", "0") and _alone_in_the_way(host):
        enter_leaf(host)
    usable: list[Hierarchy] = []
    why: Why = {}
    tried, wanted = [], {*CONTROLLERS, *V1} - (set() if cpuset else {"cpuset"})
    for h in host.hierarchies:  # v2 comes first; what v1 says of a controller that v1 has counts more
        if h.version == 1 and "blkio" in h.controllers:  # io's name on v1
            why["io"] = functools.partial(_refusal, "io", "bound", h)
        if h.version == 1 and h.controllers.isdisjoint(wanted):
            continue  # nothing of it is used
        tried.append(h)
        got = _try_v2(h, wanted, why) if h.version == 2 else _try_v1(h, why)
        if got is not None:
            usable.append(got)
            if got.version == 2:
                wanted.discard("cpuacct")  # cpu.stat of every v2 cgroup has the clock
    given = {c for h in usable for c in h.controllers}
    if any(h.version == 2 for h in usable):
        given.add("")
    lacking = [c for c in ("", *CONTROLLERS, "cpuacct") if c not in given and (c in wanted or not c)]
    refused = [_out_of_sight(host, c) or (why[c]() if c in why else delegation.unmounted(c)) for c in lacking]
    above = [limit for h in usable for limit in _above(h)]
    found = host._replace(hierarchies=tuple(usable), refused=tuple(refused), above=tuple(above))
    kept = {h.own for h in cgroup.choose(found, cpuset).used}
    for h in tried:
        if h.own not in kept:
            _cgroup.unmake(_ours(h))
    return found


def _ours(h: Hierarchy) -> str:
    return f"{h.own}/{_owner.owner_name(os.getpid())}"


def _situation(step: str, h: Hierarchy, number: int = 0) -> Situation:
    try:
        owner = os.stat(h.own).st_uid
    except OSError:
        owner = 0
    pids = tuple(int(p) for p in _host.read(h.own + "/cgroup.procs").split()) if step == "enable" else ()
    others = tuple(p for p in pids if p not in (os.getpid(), _cgroup.janitor().pid()))  # which comes with us
    root = not os.path.exists(h.mount + "/cgroup.type")
    systemd = os.path.isdir("/run/systemd/system")
    hidden = not os.path.exists(h.mount + "/cgroup.procs")
    return Situation(step, h.own, h.mount, number, others, os.geteuid(), owner, "", root, systemd, hidden)


def _refusal(controller: str, step: str, h: Hierarchy, number: int = 0) -> Refusal:
    situation = _situation(step, h, number)
    if step == "absent":
        situation = situation._replace(stops_at=_stops_at(h, controller))
    return delegation.explain(controller, situation)._replace(passing=number in PASSING)


def _out_of_sight(host: Host, controller: str) -> Refusal | None:
    """Why we do not see our own cgroup in the tree that has this controller; None when we do, or none has it."""
    own = _host.cgroup_paths(_host.read("/proc/self/cgroup"))
    v1 = bool(controller) and controller in own
    name = controller if v1 else ""
    seen = any(h.version == 1 and name in h.controllers if v1 else h.version == 2 for h in host.hierarchies)
    if seen or name not in own:
        return None
    for _, names, root, point in _host.cgroup_mounts(_host.read("/proc/self/mountinfo"), own):
        if name in names:
            return delegation.elsewhere(controller, ",".join(names), point, root, own[name])
    return delegation.unmounted(controller, v1)


def _try_v2(h: Hierarchy, wanted: set[str], why: Why) -> Hierarchy | None:
    """The hierarchy with the controllers that it gives to our children; None when not even a directory."""
    number, new = _mkdir(h)
    if number or not os.access(h.own + "/cgroup.procs", os.W_OK):
        for c in ("", *CONTROLLERS):
            if c in h.controllers or not c:
                why[c] = functools.partial(_refusal, c, "mkdir" if number else "procs", h, number)
        return None
    given = set()
    # With processes in it, a cgroup takes +cpu and +pids all the same, but then its children are "domain invalid" and
    # hold no process (cgroup-v2.rst, Threads): nothing is tried there. Only the kernel's root is free of that rule.
    occupied = not h.root and bool(_host.read(h.own + "/cgroup.procs").split())
    for name in CONTROLLERS:
        if name not in wanted:
            continue
        if name not in h.controllers:
            why[name] = functools.partial(_refusal, name, "absent", h)
        elif number := errno.EBUSY if occupied else _enable_fails(h.own, name):
            why[name] = functools.partial(_refusal, name, "enable", h, number)
        else:
            given.add(name)
    if given:  # their files are in the leaves, not in what was made before they were enabled
        _cgroup.unlist(_ours(h))
    elif new:
        _cgroup.list_first(_ours(h))
    return h._replace(controllers=frozenset(given), writable=True)


def _try_v1(h: Hierarchy, why: Why) -> Hierarchy | None:
    number, new = _mkdir(h)
    if not number:
        if new:
            _cgroup.list_first(_ours(h))
        return h._replace(writable=True)
    step = "v1" if number in (errno.EACCES, errno.EPERM) else "mkdir"
    for c in h.controllers.intersection(V1):
        why[c] = functools.partial(_refusal, c, step, h, number)
    return None


def _mkdir(h: Hierarchy) -> tuple[int, bool]:
    """0, or the errno of making our directory there; and whether it is new."""
    try:
        _cgroup.make_first(_ours(h))
    except FileExistsError:
        return 0, False
    except OSError as e:
        return _number(e), False
    return 0, True


def _enable_fails(own: str, name: str) -> int:
    """0, or the errno of handing this controller to the children of ``own``; it stays enabled."""
    try:
        _cgroup.files().directory(own).enable(frozenset({name}))
    except OSError as e:
        return _number(e)
    return 0


def _number(e: OSError) -> int:
    """Its errno, as what the cgroup says; raised when it says something of this process instead."""
    not_ours(e)
    return e.errno or errno.EIO


def _upwards(h: Hierarchy) -> list[str]:
    """``own`` and the directories above it, up to the mount."""
    found = [h.own]
    while found[-1] != h.mount and len(found[-1]) > len(h.mount):
        found.append(os.path.dirname(found[-1]))
    return found


def _stops_at(h: Hierarchy, controller: str) -> str:
    for path in _upwards(h)[1:]:
        if controller in _host.read(path + "/cgroup.controllers").split():
            return path
    return ""


_ABOVE = {
    2: (("memory", "memory.max"), ("pids", "pids.max")),
    1: (("memory", "memory.limit_in_bytes"), ("pids", "pids.max")),
}


def _above(h: Hierarchy) -> list[Above]:
    """Limits of our own cgroup and of those above that a run could meet before its own."""
    found = []
    for path in _upwards(h):
        for controller, name in _ABOVE[h.version]:
            text = _host.read(f"{path}/{name}").strip() if controller in h.controllers else ""
            if text.isdigit() and int(text) < 1 << 62:  # v1's "none" is 2^63 less a page
                found.append(Above(controller, int(text), f"{path}/{name}"))
    return found


# ---- moving the calling process, when told to ----


def _v2(host: Host) -> Hierarchy:
    for h in host.hierarchies:
        if h.version == 2:
            return h
    r = delegation.unmounted("")
    raise HostError("cgroup", r.cause, r.fix)


def _alone_in_the_way(host: Host) -> bool:
    """Whether this process sits where it keeps controllers from its cgroup's children."""
    with contextlib.suppress(HostError):
        h = _v2(host)
        return not h.root and bool(h.controllers) and not _in_leaf() and not _mkdir(h)[0]
    return False


def _in_leaf() -> bool:
    lines = _host.read("/proc/self/cgroup").splitlines()
    return any(re.search(_host.LEAF, line) for line in lines if line.startswith("0::"))


def enter_leaf(host: Host) -> str:
    """See `pyjail.cgroup.enter_leaf`."""
    h = _v2(host)
    if h.root or _in_leaf():  # the kernel's root may have processes and children
        return h.own
    _cgroup.clean_stale(h.own)
    leaf = f"{h.own}/{_owner.owner_name(os.getpid(), 'leaf-')}"
    try:
        os.mkdir(leaf)
    except FileExistsError:
        pass
    except OSError as e:
        r = delegation.explain("", _situation("mkdir", h, _number(e)))
        raise HostError("cgroup", r.cause, r.fix) from e
    try:
        with open(leaf + "/cgroup.procs", "w") as f:
            f.write("0")  # the writing process, all its threads
    except OSError as e:
        with contextlib.suppress(OSError):
            os.rmdir(leaf)
        r = delegation.explain("", _situation("procs", h, _number(e)))
        raise HostError("cgroup", r.cause, r.fix) from e
    _cgroup.janitor().follow()
    return leaf
