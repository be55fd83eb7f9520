"""Moving the calling process out of the way of its cgroup's children, when it is told to."""

from __future__ import annotations

import contextlib
import os
import re

from pyjail._base.errors import HostError
from pyjail._cgroups import bring_up, refusal, tree
from pyjail._host import machine, owner
from pyjail._host.machine import Hierarchy, Host
from pyjail._policy import delegation


def _v2(host: Host) -> Hierarchy:
    for h in host.hierarchies:
        if h.version == 2:
            return h
    r = delegation.unmounted("")
    raise HostError("cgroup", r.cause, r.fix)


def if_in_the_way(host: Host) -> None:
    """`enter_leaf`, should this process sit where it keeps controllers from its cgroup's children."""
    with contextlib.suppress(HostError):
        h = _v2(host)
        if h.root or not h.controllers or _in_leaf() or bring_up.make(h)[0]:
            return
    enter_leaf(host)


def _in_leaf() -> bool:
    lines = machine.read("/proc/self/cgroup").splitlines()
    return any(re.search(machine.LEAF, line) for line in lines if line.startswith("0::"))


def enter_leaf(host: Host) -> str:
    """Move this process into a leaf below its cgroup, as `pyjail.cgroup.enter_leaf` says; the leaf's directory."""
    h = _v2(host)
    if h.root or _in_leaf():  # the kernel's root may have processes and children
        return h.own
    tree.clean_stale(h.own)
    leaf = f"{h.own}/{owner.owner_name(os.getpid(), 'leaf-')}"
    try:
        os.mkdir(leaf)
    except FileExistsError:
        pass
    except OSError as e:
        r = delegation.explain("", refusal.situation("mkdir", h, bring_up.number_of(e)))
        raise HostError("cgroup", r.cause, r.fix) from e
    try:
        with open(leaf + "/cgroup.procs", "w") as f:
            f.write("0")  # the writing process, all its threads
    except OSError as e:
        with contextlib.suppress(OSError):
            os.rmdir(leaf)
        r = delegation.explain("", refusal.situation("procs", h, bring_up.number_of(e)))
        raise HostError("cgroup", r.cause, r.fix) from e
    tree.janitor().follow()
    return leaf
