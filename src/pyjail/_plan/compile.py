"""A `Jail` and `Limits` compiled for this host: pure data, printable, hashable. Refuses what cannot be enforced."""

from __future__ import annotations

import functools
import resource

from pyjail._base import lazy
from pyjail._base.errors import SpecError
from pyjail._base.records import NamedTuple, replace
from pyjail._host import machine
from pyjail._host.machine import Host, Missing
from pyjail._policy import cgroup, filter, landlock, mounts, rlimits
from pyjail._policy.cgroup import CgroupRow
from pyjail._policy.filter import Filter
from pyjail._policy.landlock import Ruleset
from pyjail._policy.mounts import MountRow, TmpfsRow
from pyjail._policy.rlimits import RlimitRow
from pyjail._spec.jail import PORT, Env, Jail, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000


class Template(NamedTuple):
    """What a keeper prepares once. Equal templates can share keepers."""

    jail: Jail
    mounts: tuple[MountRow, ...]
    run_mounts: tuple[MountRow, ...]
    landlock: Ruleset
    filter: Filter
    cgroups: cgroup.Cgroups
    unshare_first: int
    unshare_second: int
    run_unshare: int
    privileged: bool
    own_ids: bool
    subordinate: bool  # the program runs as one of the caller's subordinate ids
    keys: bool  # the filter lets the program use keyrings: each run gets one of its own
    sources: tuple[machine.Identity, ...]
    missing: tuple[Missing, ...]
    seen: mounts.Seen
    clocks: bool = False  # each run has a time namespace
    slots: bool = False  # a box's: several runs at once, in the same namespaces, all seen in /proc
    port: int = 0  # where the keeper listens in the network of its runs, for who accepts outside; 0 = nowhere


class RunLimits(NamedTuple):
    """The part of a run that its `Limits` decide. Equal ones fit a process that is armed already."""

    limits: Limits
    cgroup: tuple[CgroupRow, ...]
    tmpfs: tuple[TmpfsRow, ...]
    rlimits: tuple[RlimitRow, ...]
    affinity: frozenset[int] | None
    busy: int  # CPUs that can be used at once
    missing: tuple[Missing, ...]  # empty with strict=True
    files: tuple[frozenset[str], ...]  # in a leaf of each hierarchy
    read_only: str | None = None  # a mount that this run only reads


@functools.lru_cache(maxsize=256)
def template(jail: Jail, host: Host, cpuset: bool, sources: tuple[machine.Identity, ...] = ()) -> Template:
    """Compile a jail. Raises SpecError for sources that are not there, HostError for what cannot be enforced.

    ``sources`` (`machine.identities`) tells a source from another one of the same path: their keepers differ.
    """
    kind = functools.cache(machine.kind_of)  # each source is looked at once
    missing: list[Missing] = []
    if jail.rootfs is not None:
        try:
            found, real = kind(str(jail.rootfs))
        except OSError as e:
            raise SpecError("rootfs", jail.rootfs, f"this directory cannot be used: {e.strerror}") from None
        if found != "dir" or real == "/":
            raise SpecError("rootfs", jail.rootfs, "a directory other than / is needed")
    else:
        real = None
    source = jail if real is None or real == jail.rootfs else replace(jail, rootfs=real)
    view = mounts.seen(jail, host, None if jail.python is None else _python(str(jail.python)))
    asked = _asked_for().nodes(jail, kind) if jail.mounts else ()
    below = [p for p in view.parts if p.path.startswith(("/box/", "/tmp/", "/dev/shm/"))]  # of each run's own tmpfs
    if jail.writable_root is None:
        rows = tuple(mounts.template(source, host, machine.tree, kind, has_proc=True, view=view, asked=asked))
    else:
        rows = _writable().rows(source, host, _seldom().owner(str(source.rootfs)), machine.tree, kind, asked)
        missing += _writable().refusals(host, _seldom().owner(str(source.rootfs)))
    if len(rows) > mounts.MOST_ROWS:
        names = [m.dst for m in jail.mounts]
        raise SpecError(
            "mounts", names, f"{len(rows)} entries, not more than {mounts.MOST_ROWS}; choose places that exist"
        )
    bound_files = frozenset("/" + row.target for row in rows if row.kind in ("bind", "pipe") and not row.is_dir)
    rules = landlock.ruleset(jail, host.landlock_abi, bound_files)
    if jail.landlock and rules.abi < 1:
        missing.append(Missing("landlock", "this kernel has no Landlock (or it is not in the lsm= boot list)"))
    if host.euid == 0 and not host.maps_ids and not host.single_id:
        cause = "root without CAP_SETUID and CAP_SETGID: the program would be root outside"
        missing.append(Missing("ids", cause, "give this process both (docker: --cap-add SETUID --cap-add SETGID)"))
    clocks = False
    if jail.deterministic:
        with lazy.lock:
            from pyjail._policy import deterministic, seccomp

        may_write = seccomp.allows_plainly(jail.seccomp, "write", jail.network != "none")
        refusal = deterministic.clocks_refusal(host.kernel, _seldom().time_namespaces(), may_write)
        clocks = not refusal
        missing += [Missing("clocks", refusal)] if refusal else []
    # What the caller alone may read or write, only the caller's own id can: subordinate ones are for all other jails.
    foreign = [m.src for m in jail.mounts if m.src is not None] + (view.sources if real is None else [real])
    subordinate = (
        not host.maps_ids
        and host.subuids is not None
        and jail.writable_root is None
        and all(m.ro for m in jail.mounts if m.kind == "bind")
        and all(_seldom().open_to_all(path) for path in foreign)
    )
    program = filter.ready_made(jail.seccomp, host.arch, *filter.reach(jail)) or _compiled(jail, host)
    slots = bool(jail.mounts) and _asked_for().is_box(jail)
    own = 0 if slots else NEWIPC | (NEWNET if jail.network != "none" else 0)  # of each run
    namespaces = NEWPID | NEWUTS | (NEWIPC | NEWNET if slots else NEWNET & ~own)
    return Template(
        jail=jail,
        mounts=tuple(_asked_for().whole_first(rows, jail)) if slots else rows,
        run_mounts=tuple(_asked_for().over_tmpfs(jail, kind, view)) if jail.mounts or below else (),
        landlock=rules,
        filter=program,
        cgroups=cgroup.choose(host, cpuset),
        unshare_first=NEWNS if host.privileged else NEWUSER | NEWNS,
        unshare_second=(NEWUSER | NEWNS if host.privileged else 0) | namespaces,
        run_unshare=own,
        privileged=host.privileged,
        own_ids=host.maps_ids or subordinate,
        subordinate=subordinate,
        keys=program.keys,
        sources=sources,
        missing=tuple(missing),
        seen=view,
        clocks=clocks,
        slots=slots,
        port=0 if isinstance(jail.network, str) else PORT,
    )


def _writable() -> Any:
    with lazy.lock:
        from pyjail._policy import writable

    return writable


def _compiled(jail: Jail, host: Host) -> Filter:
    with lazy.lock:
        from pyjail._policy import choice

    return choice.filter_of(jail.seccomp, host.arch, *filter.reach(jail))


def _asked_for() -> Any:
    with lazy.lock:
        from pyjail._policy import asked_for

    return asked_for


def _python(executable: str) -> Any:
    with lazy.lock:
        from pyjail._host import interpreter_asked

    return interpreter_asked.asked(executable)


def _seldom() -> Any:
    with lazy.lock:
        from pyjail._host import seldom

    return seldom


def _missing() -> Any:
    with lazy.lock:
        from pyjail._plan import missing as plan_missing

    return plan_missing


_SWAP = ("memory.swap.max", "memory.memsw.limit_in_bytes")  # without swap there is nothing to deny
_NEEDS = {"memory": "memory", "processes": "pids", "cpus": "cpu", "io_rate": "io"}


def _cgroup_rows(
    jail: Jail, limits: Limits, host: Host, cgroups: cgroup.Cgroups, files: tuple[frozenset[str], ...]
) -> tuple[list[CgroupRow], list[Missing]]:
    """The files of a leaf that this kernel has, and the limits that lack one."""
    rows: list[CgroupRow] = []
    missing: list[Missing] = []
    disks = () if limits.io_rate is None else _seldom().disks()
    if len(disks) > cgroup.MOST_DISKS:
        missing.append(_missing().disks(len(disks), cgroup.MOST_DISKS))
        disks = ()
    wanted = cgroup.rows(cgroups, limits, host.psi, jail.network != "none", disks)
    for row in _asked_for().to_be_stopped(wanted, cgroups) if jail.mounts and _asked_for().is_box(jail) else wanted:
        if row.file == cgroup.SWAPPED and not host.swap:
            continue  # it would say what the other one says
        if row.file in files[row.hierarchy]:
            if row.file == "memory.peak" and "memory.peak (reset)" not in files[row.hierarchy]:
                row = row._replace(renew=None, most=0)
            if row.most == cgroup.STOCK:
                row = row._replace(most=min(cgroup.STOCK * (1 + len(host.cpus)), cgroup.MOST_LEFT))
            rows.append(row)
        elif (
            row.when in ("set", "clock") and row.limit and (host.swap or row.file not in _SWAP)
        ):  # else nothing to deny
            missing.append(_missing().file(row.limit, row.file))
    return rows, missing


@functools.lru_cache(maxsize=1024)
def run_limits(
    jail: Jail, limits: Limits, host: Host, cgroups: cgroup.Cgroups, files: tuple[frozenset[str], ...]
) -> RunLimits:
    """Compile limits for a template. ``files``: the names in a leaf of each hierarchy."""
    missing: list[Missing] = []
    index = cgroups.where
    for field, controller in _NEEDS.items():
        value = getattr(limits, field)
        if value is None or (field == "cpus" and isinstance(value, frozenset)):
            continue
        if controller not in index:
            if field != "cpus" or value < host.online:  # all there are need no quota
                missing.append(_missing().lacking(host, field, controller))
        elif field in ("memory", "processes") and any(
            a.controller == controller and a.value < value for a in host.above
        ):
            missing.append(_missing().unreachable(host, field, controller, value))
    if limits.io_rate is not None and "io" in index and not _seldom().disks():
        missing.append(_missing().disks(0, cgroup.MOST_DISKS))
    if limits.cpu_time is not None and not {"v2", "cpuacct"} & set(index):
        controller, more = "cpuacct" if host.refusal("cpuacct") else "", "; RLIMIT_CPU would cover one process only"
        missing.append(_missing().lacking(host, "cpu_time", controller, more))
    if isinstance(limits.cpus, float) and limits.cpus > host.online:
        raise SpecError("cpus", limits.cpus, f"this machine has {host.online} CPUs; None is no limit")
    if isinstance(limits.cpus, frozenset):
        if not limits.cpus <= host.cpus:
            raise SpecError("cpus", sorted(limits.cpus), f"this process may use CPUs {sorted(host.cpus)} only")
        if "cpuset" not in index:
            missing.append(_missing().lacking(host, "cpus", "cpuset", "; affinity alone can be undone"))
    rows, without_file = _cgroup_rows(jail, limits, host, cgroups, files)
    missing += without_file
    hard = {r: resource.getrlimit(r)[1] for r in range(16)}  # the caller's own: nothing inside is raised above them
    if limits.cpu_time is not None and -1 < hard[resource.RLIMIT_CPU] < rlimits.far_off(limits.cpu_time):
        missing.append(_missing().cut_short(limits, hard[resource.RLIMIT_CPU]))
    limit_rows = []
    for rlimit in rlimits.rows(limits, cgroup.has_clock(rows)):
        most = hard[rlimit.resource]
        if most != -1 and rlimit.hard > most and rlimit.hard != rlimits.INFINITY:
            if rlimit.limit and rlimit.limit != "cpu_time":
                missing += _missing().below(rlimit, most)
            rlimit = rlimit._replace(soft=min(rlimit.soft, most), hard=most)
        limit_rows.append(rlimit)
    if missing and jail.strict:
        raise _missing().refused(missing[0])
    affinity = limits.cpus if isinstance(limits.cpus, frozenset) else None
    return RunLimits(
        limits=limits,
        cgroup=tuple(rows),
        tmpfs=tuple(mounts.tmpfs(jail, limits)),
        rlimits=tuple(limit_rows),
        affinity=affinity,
        # A quota allows bursts on all CPUs within its period, and an affinity can be widened: only the number of CPUs
        # bounds the rate of use.
        busy=len(affinity) if affinity and "cpuset" in index else host.online,
        missing=tuple(missing),
        files=files,
    )


class Request(NamedTuple):
    """What to execute, where, with which streams: the part of a run that is neither jail nor limits."""

    args: tuple[bytes, ...]
    env: Env
    cwd: str
    stdio: tuple[str, str, str]  # enum pj_stdio
    output: int | None
    rearm: bool
    hold: bool
    terminal: bool = False  # stdin is to be the controlling terminal
    keep: bool = False  # in a box: what the program leaves behind lives on
