"""Why a controller is missing, in words: for a limit that needs it, and for the doctor."""

from __future__ import annotations

import os

from pyjail._cgroups import tree
from pyjail._cgroups.bring_up import upwards
from pyjail._host import machine
from pyjail._host.machine import Hierarchy, Host, Lacking
from pyjail._policy import delegation
from pyjail._policy.delegation import Refusal, Situation


def explain(refused: Lacking) -> Refusal:
    """Cause and fix of what `_cgroups.bring_up` could not get, as things are now."""
    controller, step, h, number = refused
    out_of_sight = _out_of_sight(machine.host(), controller)
    if out_of_sight is not None:
        return out_of_sight
    if h is None:
        return delegation.unmounted(controller)
    found = situation(step, h, number)
    if step == "absent":
        found = found._replace(stops_at=_stops_at(h, controller))
    return delegation.explain(controller, found)


def of(host: Host, controller: str) -> Refusal | None:
    """The same for a controller; None when it is there or was not asked for."""
    refused = host.refusal(controller)
    return None if refused is None else explain(refused)


def situation(step: str, h: Hierarchy, number: int = 0) -> Situation:
    """What can be seen there of why that step failed."""
    try:
        owner = os.stat(h.own).st_uid
    except OSError:
        owner = 0
    pids = tuple(int(p) for p in machine.read(h.own + "/cgroup.procs").split()) if step == "enable" else ()
    others = tuple(p for p in pids if p not in (os.getpid(), tree.janitor().pid()))  # which comes with us
    root = not os.path.exists(h.mount + "/cgroup.type")
    systemd = os.path.isdir("/run/systemd/system")
    hidden = not os.path.exists(h.mount + "/cgroup.procs")
    return Situation(step, h.own, h.mount, number, others, os.geteuid(), owner, "", root, systemd, hidden)


def _out_of_sight(host: Host, controller: str) -> Refusal | None:
    """Why we do not see our own cgroup in the tree that has this controller; None when we do, or none has it."""
    own = machine.cgroup_paths(machine.read("/proc/self/cgroup"))
    v1 = bool(controller) and controller in own
    name = controller if v1 else ""
    seen = any(h.version == 1 and name in h.controllers if v1 else h.version == 2 for h in host.hierarchies)
    if seen or name not in own:
        return None
    for _, names, root, point in machine.cgroup_mounts(machine.read("/proc/self/mountinfo"), own):
        if name in names:
            return delegation.elsewhere(controller, ",".join(names), point, root, own[name])
    return delegation.unmounted(controller, v1)


def _stops_at(h: Hierarchy, controller: str) -> str:
    for path in upwards(h)[1:]:
        if controller in machine.read(path + "/cgroup.controllers").split():
            return path
    return ""
