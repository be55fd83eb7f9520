"""Which cgroup files are written, read and watched for a run: the only place that knows v1 from v2.

Every run has a fresh leaf in each hierarchy used. On v2 the program's process is born in it
(CLONE_INTO_CGROUP); into a v1 leaf it moves itself by writing "0" to ``tasks`` (docs/adr/0001).
"""

from __future__ import annotations

from collections.abc import Iterable

from pyjail._base.records import NamedTuple
from pyjail._host.machine import Hierarchy, Host
from pyjail._spec.jail import Limits

PERIOD_US = 100000


# The kernel charges in batches of 64 pages for each CPU (MEMCG_CHARGE_BATCH), whether they are used or not, and frees
# some of its own only after a grace period: a leaf with no more than that is as good as an empty one.
STOCK = 64 * 4096
# The next run's watermark starts with what a leaf has charged: however many CPUs there are, no more than this.
MOST_LEFT = 3 * STOCK
SWAPPED = "memory.memsw.max_usage_in_bytes"
LEFT = "what the run left charged"
MOST_DISKS = 16  # the keeper reads back all lines of io.max for each


class CgroupRow(NamedTuple):
    """One file of a leaf. ``when``: set, read, watch, clock, in a box stop and count (see csrc/plan.h). ``limit``: the
    field of `Limits` behind it.

    A leaf that is as good as new serves the keeper's next run (docs/adr/0007): no number in this file is above ``most``
    after the run, ``renew`` is written to set it back, and what ``counts_up`` is told without what it was before.
    """

    hierarchy: int
    file: str
    when: str
    why: str
    value: str | None = None
    limit: str = ""
    most: int | None = None
    renew: str | None = None
    counts_up: bool = False


class Cgroups(NamedTuple):
    """The hierarchies that a plan uses, in the order of their fds; ``into`` is the index of the v2 one or None."""

    used: tuple[Hierarchy, ...]
    into: int | None
    pairs: tuple[tuple[str, int], ...]  # (controller, or "v2" for what needs none; index into used)

    @property
    def where(self) -> dict[str, int]:
        """Controller -> index into ``used``."""
        return dict(self.pairs)


def choose(host: Host, cpuset: bool) -> Cgroups:
    """The trees that enforce something for us here: v2 for what it has, v1 for the rest."""
    used: list[Hierarchy] = []
    index: dict[str, int] = {}
    into = None
    for h in host.hierarchies:
        if h.version == 2 and h.writable:
            into = len(used)
            index["v2"] = into
            for name in h.controllers & {"memory", "pids", "cpu", "io", *(("cpuset",) if cpuset else ())}:
                index[name] = into
            used.append(h)
    for name in ("memory", "pids", "cpu", "cpuset", *(() if into is not None else ("cpuacct",))):
        if name in index or (name == "cpuset" and not cpuset):
            continue
        for h in host.hierarchies:
            if h.version == 1 and h.writable and name in h.controllers:
                if h in used:
                    index[name] = used.index(h)
                else:
                    index[name] = len(used)
                    used.append(h)
    return Cgroups(tuple(used), into, tuple(index.items()))


def rows(cgroups: Cgroups, limits: Limits, psi: bool, loopback: bool, disks: tuple[str, ...] = ()) -> list[CgroupRow]:
    """The files of one run's leaf, in the order in which they are touched."""
    found: list[CgroupRow] = []
    index = cgroups.where
    for name, part in (("memory", _memory), ("pids", _pids), ("cpu", _cpu), ("cpuset", _cpuset)):
        if name in index:
            h = index[name]
            found += part(h, cgroups.used[h].version == 2, limits)
            if name == "memory" and loopback and cgroups.used[h].version == 1 and limits.memory is not None:
                file = "memory.kmem.tcp.limit_in_bytes"  # v1 counts TCP buffers apart
                found.append(CgroupRow(h, file, "set", "TCP buffers", str(limits.memory)))
    if "v2" in index:
        h = index["v2"]
        found.append(CgroupRow(h, "cgroup.max.descendants", "set", "no cgroups below ours", "0"))
        found.append(CgroupRow(h, "cgroup.max.depth", "set", "no cgroups below ours", "0"))
        found.append(_clock(h, "cpu.stat", "CPU time of the whole tree, needs no controller", limits))
        if psi:
            found += [CgroupRow(h, f"{r}.pressure", "read", "PSI", counts_up=True) for r in ("cpu", "memory", "io")]
        if "io" in index:
            found.append(CgroupRow(h, "io.stat", "read", "block I/O", counts_up=True))
            if limits.io_rate is not None:
                rate = limits.io_rate
                for disk in disks:
                    value = f"{disk} rbps={rate} wbps={rate}"
                    found.append(CgroupRow(h, "io.max", "set", "bytes per second of this disk", value, "io_rate"))
    elif "cpuacct" in index:
        found.append(_clock(index["cpuacct"], "cpuacct.usage", "CPU time of the whole tree", limits))
    return found


def _clock(h: int, file: str, why: str, limits: Limits) -> CgroupRow:
    return CgroupRow(h, file, "clock", why, limit="" if limits.cpu_time is None else "cpu_time", counts_up=True)


def has_clock(rows: Iterable[CgroupRow]) -> bool:
    """Whether the keeper can tell the CPU time of a run with these files."""
    return any(row.when == "clock" for row in rows)


def _memory(h: int, v2: bool, limits: Limits) -> list[CgroupRow]:
    limit = None if limits.memory is None else str(limits.memory)
    if v2:
        found = [CgroupRow(h, "memory.oom.group", "set", "one out-of-memory kill ends the whole tree", "1")]
        if limit:
            found.append(CgroupRow(h, "memory.max", "set", "the limit", limit, "memory"))
            found.append(CgroupRow(h, "memory.swap.max", "set", "swap is not more memory", "0", "memory"))
        return [
            *found,
            CgroupRow(h, "memory.peak", "read", "the watermark; since Linux 5.19", renew="reset"),
            CgroupRow(h, "memory.events", "read", "oom: our limit; oom_kill without it: somebody else's", most=0),
            CgroupRow(h, "memory.current", "read", LEFT, most=STOCK, counts_up=True),
            CgroupRow(h, "memory.stat", "read", "what is charged when all is over: files in tmpfs, page cache, kernel"),
        ]
    found = []
    if limit:
        # First the plain limit, then memory+swap, which must not be below it.
        found.append(CgroupRow(h, "memory.limit_in_bytes", "set", "the limit", limit, "memory"))
        found.append(CgroupRow(h, "memory.memsw.limit_in_bytes", "set", "swap is not more memory", limit, "memory"))
    return [
        *found,
        CgroupRow(h, "memory.oom_control", "watch", "v1 kills one process only: a count above 0 ends the tree", most=0),
        CgroupRow(h, "memory.max_usage_in_bytes", "read", "the watermark", renew="0"),
        CgroupRow(h, SWAPPED, "read", "the watermark with swap: who pages out meets this limit first", renew="0"),
        CgroupRow(h, "memory.usage_in_bytes", "read", LEFT, most=STOCK, counts_up=True),
    ]


def _pids(h: int, v2: bool, limits: Limits) -> list[CgroupRow]:
    del v2  # the same files
    found = []
    if limits.processes is not None:
        found.append(CgroupRow(h, "pids.max", "set", "processes and threads", str(limits.processes), "processes"))
    return [
        *found,
        CgroupRow(h, "pids.peak", "read", "the watermark; since Linux 6.1 (v1: 6.13)", most=1),
        CgroupRow(h, "pids.events", "read", "how often a fork was refused", most=0),
    ]


def _cpu(h: int, v2: bool, limits: Limits) -> list[CgroupRow]:
    found = []
    if isinstance(limits.cpus, float):
        quota = str(round(limits.cpus * PERIOD_US))
        both = f"{quota} {PERIOD_US}"  # written again, it fills up what a run before has used of the period
        if v2:
            found.append(CgroupRow(h, "cpu.max", "set", "share of cores", both, "cpus", renew=both))
        else:
            found.append(CgroupRow(h, "cpu.cfs_quota_us", "set", "share of cores", quota, "cpus", renew=quota))
    if not v2:  # on v2 the clock's cpu.stat says it
        found.append(CgroupRow(h, "cpu.stat", "read", "throttled time", counts_up=True))
    return found


def _cpuset(h: int, v2: bool, limits: Limits) -> list[CgroupRow]:
    if not isinstance(limits.cpus, frozenset):
        return []
    ids = ",".join(str(c) for c in sorted(limits.cpus))
    del v2  # the same file; memory nodes come from the parent (v2), or by its cgroup.clone_children (v1)
    return [CgroupRow(h, "cpuset.cpus", "set", "the CPUs to run on", ids, "cpus")]
