"""Why a limit has nothing to enforce it here, in words: for an error, or for the receipt of a jail that is lenient."""

from __future__ import annotations

from pyjail._base.errors import HostError
from pyjail._cgroups import refusal as cgroups_refusal
from pyjail._host import machine
from pyjail._host.machine import Host, Missing
from pyjail._policy.rlimits import RlimitRow
from pyjail._spec.jail import Limits

_DELEGATE = "run as root, or inside a delegated cgroup: systemd-run --user --scope -p Delegate=yes PROGRAM"
_ANYWAY = "; or do without: Limits({field}=None), or Jail(strict=False) and look at the receipt"


def refused(missing: Missing) -> HostError:
    """What a strict jail raises for it."""
    return HostError(missing.control, missing.cause, missing.fix + _ANYWAY.format(field=missing.control))


def lacking(host: Host, field: str, controller: str, more: str = "") -> Missing:
    """No cgroup here has the controller that this field of `Limits` needs."""
    refusal = cgroups_refusal.of(host, controller)
    if refusal is None:
        return Missing(field, f"no writable cgroup with the {controller} controller here{more}", _DELEGATE)
    return Missing(field, refusal.cause + more, refusal.fix)


def unreachable(host: Host, field: str, controller: str, value: int) -> Missing:
    """A limit above ours that would be met first: then everything there suffers, the caller included."""
    lowest = min((a for a in host.above if a.controller == controller), key=lambda a: a.value)
    cause = f"{lowest.file} is {lowest.value}, below what was asked: the caller's own cgroup would run out first"
    return Missing(field, cause, f"ask for less than {lowest.value}, or raise it: echo {2 * value} > {lowest.file}")


def disks(count: int, most: int) -> Missing:
    """More than can be limited, or none."""
    if not count:
        return Missing("io_rate", "no disk in /sys/block to limit", "none is needed")
    cause = f"this machine has {count} disks, no more than {most} can be limited"
    return Missing("io_rate", cause, "bound the disks' use from outside")


def file(limit: str, name: str) -> Missing:
    """This kernel's cgroups lack the file."""
    if name in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
        cause = f"there is swap, and this kernel does not account for it: no {name}"
        return Missing(limit, cause, "swapoff -a, or boot with swapaccount=1")
    return Missing(limit, f"this kernel's cgroups have no {name}", "a newer kernel")


def cut_short(limits: Limits, hard: int) -> Missing:
    """A hard RLIMIT_CPU of the caller's that would end a run before its limit, by its count of ticks."""
    cause = f"the caller's own hard RLIMIT_CPU is {hard} s, and could end a process before {limits.cpu_time:g} s"
    return Missing("cpu_time", cause, "raise it (ulimit -Ht, LimitCPU= of the unit), or ask for less than half of it")


def _no_cores() -> tuple[Missing, ...]:
    """A hard RLIMIT_CORE of 0 where none is to be written: whether the kernel does something else with them then."""
    pattern = machine.read("/proc/sys/kernel/core_pattern").strip()
    if pattern and pattern[0] not in "|@":
        return ()
    does = f"hands them to {pattern.split()[0]!r}, whatever that limit is but for 1" if pattern else "cannot be read"
    cause = f"the caller's own hard RLIMIT_CORE is 0, and kernel.core_pattern {does}"
    fix = "let it be 1 (ulimit -Hc 1, LimitCORE=1 of the unit, `hard core 1` in limits.conf)"
    return (Missing("core", cause, fix + ", or sysctl -w kernel.core_pattern=core"),)


def below(row: RlimitRow, most: int) -> tuple[Missing, ...]:
    """A hard rlimit of the caller's that is lower."""
    if row.limit == "core" and row.hard == 1:
        return _no_cores()
    cause = f"the caller's own hard {row.name} is {most}, below what was asked"
    fix = "raise it (ulimit -H, LimitNOFILE= and its like in the unit), or ask for less"
    return (Missing(row.limit, cause, fix),)
