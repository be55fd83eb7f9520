"""A `Jail` and `Limits` compiled for this host: pure data, printable, hashable. Refuses what cannot be enforced."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pyjail import _host
from pyjail._errors import HostError, SpecError
from pyjail._host import Host
from pyjail._spec import Env, Jail, Limits
from pyjail.policy import cgroup, landlock, mounts, rlimits, seccomp
from pyjail.policy.cgroup import CgroupRow
from pyjail.policy.landlock import Ruleset
from pyjail.policy.mounts import MountRow, TmpfsRow
from pyjail.policy.rlimits import RlimitRow

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
PROC_OPTIONS = (("subset", "pid"), ("hidepid", "invisible"))


@dataclass(frozen=True)
class Template:
    """What a keeper prepares once. Equal templates can share keepers."""

    jail: Jail
    mounts: tuple[MountRow, ...]
    run_mounts: tuple[MountRow, ...]
    landlock: Ruleset
    filter: seccomp.Filter
    cgroups: cgroup.Cgroups
    unshare_first: int
    unshare_second: int
    run_clone: int
    privileged: bool
    own_ids: bool
    sources: tuple[_host.Identity, ...]
    missing: tuple[tuple[str, str], ...]  # (control, cause) that this host lacks; empty with strict=True


@dataclass(frozen=True)
class RunLimits:
    """The part of a run that its `Limits` decide. Equal ones fit an init that is armed already."""

    limits: Limits
    cgroup: tuple[CgroupRow, ...]
    tmpfs: tuple[TmpfsRow, ...]
    rlimits: tuple[RlimitRow, ...]
    affinity: frozenset[int] | None
    busy: int  # CPUs that can be used at once
    missing: tuple[tuple[str, str], ...]


@functools.lru_cache(maxsize=256)
def template(jail: Jail, host: Host, cpuset: bool, sources: tuple[_host.Identity, ...] = ()) -> Template:
    """Compile a jail. Raises SpecError for sources that are not there, HostError for what cannot be enforced.

    ``sources`` (`_host.identities`) tells a source from another one of the same path: their keepers differ.
    """
    kind = functools.cache(_host.kind_of)  # each source is looked at once
    missing: list[tuple[str, str]] = []
    if jail.rootfs is not None:
        try:
            found, real = kind(str(jail.rootfs))
        except OSError as e:
            raise SpecError("rootfs", jail.rootfs, f"this directory cannot be used: {e.strerror}") from None
        if found != "dir" or real == "/":
            raise SpecError("rootfs", jail.rootfs, "a directory other than / is needed")
    else:
        real = None
    source = jail if real is None else _with_rootfs(jail, real)
    rows = tuple(mounts.template(source, host, _host.tree, kind, has_proc=True))
    bound_files = frozenset("/" + row.target for row in rows if row.kind == "bind" and not row.is_dir)
    rules = landlock.ruleset(jail, host.landlock_abi, bound_files)
    if jail.landlock and rules.abi < 1:
        missing.append(("landlock", "this kernel has no Landlock (or it is not in the lsm= boot list)"))
    if host.euid == 0 and not host.maps_ids:
        missing.append(("ids", "root without CAP_SETUID and CAP_SETGID: the program would be root outside"))
    shared = NEWNET if jail.network == "none" else 0
    namespaces = NEWUTS | shared
    return Template(
        jail=jail,
        mounts=rows,
        run_mounts=tuple(mounts.over_tmpfs(jail, host, kind)),
        landlock=rules,
        filter=seccomp.compile_policy(jail.seccomp, host.arch, jail.network != "none"),
        cgroups=cgroup.choose(host, cpuset),
        unshare_first=NEWNS if host.privileged else NEWUSER | NEWNS,
        unshare_second=(NEWUSER | NEWNS if host.privileged else 0) | namespaces,
        run_clone=NEWPID | NEWNS | NEWIPC | (NEWNET if jail.network == "loopback" else 0),
        privileged=host.privileged,
        own_ids=host.maps_ids,
        sources=sources,
        missing=tuple(missing),
    )


def _with_rootfs(jail: Jail, real: str) -> Jail:
    return replace(jail, rootfs=real)


_NEEDS = {"memory": "memory", "processes": "pids", "cpus": "cpu"}
_DELEGATE = (
    "run as root, or inside a delegated cgroup: systemd-run --user --scope -p Delegate=yes PROGRAM; "
    "or Limits({field}=None); or Jail(strict=False)"
)


@functools.lru_cache(maxsize=1024)
def run_limits(
    jail: Jail, limits: Limits, host: Host, cgroups: cgroup.Cgroups, files: tuple[frozenset[str], ...]
) -> RunLimits:
    """Compile limits for a template. ``files``: the names in a leaf of each hierarchy."""
    missing: list[tuple[str, str]] = []
    index = cgroups.where
    for field, controller in _NEEDS.items():
        value = getattr(limits, field)
        if value is None or (field == "cpus" and isinstance(value, frozenset)) or controller in index:
            continue
        if field == "cpus" and value >= len(host.cpus):
            continue  # all there are
        missing.append((field, f"no writable cgroup with the {controller} controller here"))
    if limits.cpu_time is not None and not {"v2", "cpuacct"} & set(index):
        missing.append(("cpu_time", "no writable cgroup that counts CPU time; RLIMIT_CPU covers one process only"))
    if isinstance(limits.cpus, frozenset):
        if not limits.cpus <= host.cpus:
            raise SpecError("cpus", sorted(limits.cpus), f"this process may use CPUs {sorted(host.cpus)} only")
        if "cpuset" not in index:
            missing.append(("cpus", "no writable cgroup with the cpuset controller: affinity alone can be undone"))
    rows = []
    for row in cgroup.rows(cgroups, limits, host.psi, jail.network == "loopback"):
        if row.file in files[row.hierarchy]:
            rows.append(row)
        elif row.when in ("set", "clock") and row.limit:
            missing.append((row.limit, f"this kernel's cgroups have no {row.file}"))
    hard = _host.hard_limits()
    limit_rows = []
    for rlimit in rlimits.rows(limits):
        most = hard[rlimit.resource]
        if most != -1 and rlimit.hard > most:
            if rlimit.limit != "cpu_time":
                missing.append((rlimit.limit, f"the caller's own hard {rlimit.name} is {most}, below what was asked"))
            rlimit = rlimit._replace(soft=min(rlimit.soft, most), hard=most)
        limit_rows.append(rlimit)
    if missing and jail.strict:
        control, cause = missing[0]
        fix = (
            "raise it (ulimit -H, LimitNOFILE= and its like in the unit), or ask for less"
            if "hard RLIMIT" in cause
            else _DELEGATE
        )
        raise HostError(control, cause, fix.format(field=control))
    affinity = limits.cpus if isinstance(limits.cpus, frozenset) else None
    return RunLimits(
        limits=limits,
        cgroup=tuple(rows),
        tmpfs=tuple(mounts.tmpfs(jail, limits)),
        rlimits=tuple(limit_rows),
        affinity=affinity,
        # A quota allows bursts on all CPUs within its period: only the number of CPUs bounds the rate of use.
        busy=len(affinity) if affinity else len(host.cpus),
        missing=tuple(missing),
    )


@dataclass(frozen=True)
class Command:
    """What to execute, where, with which streams: the part of a run that is neither jail nor limits."""

    args: tuple[bytes, ...]
    env: Env
    cwd: str
    stdio: tuple[int, int, int]  # enum pj_stdio
    output: int | None
    rearm: bool
    hold: bool


def search(program: bytes, env: Mapping[str, str]) -> list[bytes]:
    """What execve is tried with: the name itself when it has a slash, else each directory of the jail's PATH."""
    if b"/" in program:
        return [program]
    path = env.get("PATH", "/usr/local/bin:/usr/bin:/bin").encode("utf-8", "surrogateescape")
    return [(d or b".") + b"/" + program for d in path.split(b":")]
