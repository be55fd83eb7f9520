"""What the cgroups give us here, found by doing: a directory is made, each controller is asked for, and what is
refused is noted, for `_cgroups.refusal` to explain. Nothing outside of our own cgroup is touched."""

from __future__ import annotations

import errno
import os

from pyjail._base.fds import not_ours
from pyjail._cgroups import tree
from pyjail._host import machine, owner
from pyjail._host.machine import Above, Hierarchy, Host, Lacking
from pyjail._policy import cgroup

CONTROLLERS = ("memory", "pids", "cpu", "io", "cpuset")
V1 = ("memory", "pids", "cpu", "cpuacct", "cpuset")
Why = dict[str, Lacking]  # by controller; it counts when no other hierarchy gives it


def bring_up(host: Host, cpuset: bool = True) -> Host:
    """``host`` with the hierarchies that work, what each gives, why others do not, and the limits above us.

    ``cpuset``: whether that controller is wanted, too: on v1 it is a tree of its own.
    """
    usable: list[Hierarchy] = []
    why: Why = {}
    tried, wanted = [], {*CONTROLLERS, *V1} - (set() if cpuset else {"cpuset"})
    for h in host.hierarchies:  # v2 comes first; what v1 says of a controller that v1 has counts more
        if h.version == 1 and "blkio" in h.controllers:  # io's name on v1
            why["io"] = Lacking("io", "bound", h)
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
    refused = [why.get(c) or Lacking(c) for c in lacking]
    above = [limit for h in usable for limit in _above(h)]
    found = host._replace(hierarchies=tuple(usable), refused=tuple(refused), above=tuple(above))
    kept = {h.own for h in cgroup.choose(found, cpuset).used}
    for h in tried:
        if h.own not in kept:
            tree.unmake(_ours(h))
    return found


def _ours(h: Hierarchy) -> str:
    return f"{h.own}/{owner.owner_name(os.getpid())}"


def _try_v2(h: Hierarchy, wanted: set[str], why: Why) -> Hierarchy | None:
    """The hierarchy with the controllers that it gives to our children; None when not even a directory."""
    number, new = make(h)
    if number or not os.access(h.own + "/cgroup.procs", os.W_OK):
        for c in ("", *CONTROLLERS):
            if c in h.controllers or not c:
                why[c] = Lacking(c, "mkdir" if number else "procs", h, number)
        return None
    given = set()
    # With processes in it, a cgroup takes +cpu and +pids all the same, but then its children are "domain invalid" and
    # hold no process (cgroup-v2.rst, Threads): nothing is tried there. Only the kernel's root is free of that rule.
    occupied = not h.root and bool(machine.read(h.own + "/cgroup.procs").split())
    for name in CONTROLLERS:
        if name not in wanted:
            continue
        if name not in h.controllers:
            why[name] = Lacking(name, "absent", h)
        elif number := errno.EBUSY if occupied else _enable_fails(h.own, name):
            why[name] = Lacking(name, "enable", h, number)
        else:
            given.add(name)
    if given:  # their files are in the leaves, not in what was made before they were enabled
        tree.unlist(_ours(h))
    elif new:
        tree.list_first(_ours(h))
    return h._replace(controllers=frozenset(given), writable=True)


def _try_v1(h: Hierarchy, why: Why) -> Hierarchy | None:
    number, new = make(h)
    if not number:
        if new:
            tree.list_first(_ours(h))
        return h._replace(writable=True)
    step = "v1" if number in (errno.EACCES, errno.EPERM) else "mkdir"
    for c in h.controllers.intersection(V1):
        why[c] = Lacking(c, step, h, number)
    return None


def make(h: Hierarchy) -> tuple[int, bool]:
    """0, or the errno of making our directory there; and whether it is new."""
    try:
        tree.make_first(_ours(h))
    except FileExistsError:
        return 0, False
    except OSError as e:
        return number_of(e), False
    return 0, True


def _enable_fails(own: str, name: str) -> int:
    """0, or the errno of handing this controller to the children of ``own``; it stays enabled."""
    try:
        tree.files().directory(own).enable(frozenset({name}))
    except OSError as e:
        return number_of(e)
    return 0


def number_of(e: OSError) -> int:
    """Its errno, as what the cgroup says; raised when it says something of this process instead."""
    not_ours(e)
    return e.errno or errno.EIO


def upwards(h: Hierarchy) -> list[str]:
    """``own`` and the directories above it, up to the mount."""
    found = [h.own]
    while found[-1] != h.mount and len(found[-1]) > len(h.mount):
        found.append(os.path.dirname(found[-1]))
    return found


_ABOVE = {
    2: (("memory", "memory.max"), ("pids", "pids.max")),
    1: (("memory", "memory.limit_in_bytes"), ("pids", "pids.max")),
}


def _above(h: Hierarchy) -> list[Above]:
    """Limits of our own cgroup and of those above that a run could meet before its own."""
    found = []
    for path in upwards(h):
        for controller, name in _ABOVE[h.version]:
            text = machine.read(f"{path}/{name}").strip() if controller in h.controllers else ""
            if text.isdigit() and int(text) < 1 << 62:  # v1's "none" is 2^63 less a page
                found.append(Above(controller, int(text), f"{path}/{name}"))
    return found
