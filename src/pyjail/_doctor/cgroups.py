"""Rows about cgroups: what enforces each limit here, by the plan of a run and by what a run read back."""

from __future__ import annotations

from collections.abc import Callable

from pyjail._base.errors import HostError
from pyjail._cgroups import refusal as cgroups_refusal
from pyjail._cgroups.bring_up import CONTROLLERS, V1
from pyjail._doctor.examination import Examination, run
from pyjail._doctor.finding import NO, PARTLY, WORKS, Finding
from pyjail._host.machine import Missing
from pyjail._plan.compile import RunLimits, Template
from pyjail._policy.counters import counters
from pyjail._result.result import Result
from pyjail._spec.jail import Limits

IO_RATE = 1 << 30  # bytes per second; what is asked for does not matter


def hierarchies(x: Examination) -> Finding:
    """Which trees we may make directories in, found by making one."""
    host = x.host
    said = []
    for h in host.hierarchies:
        names = ", ".join(sorted(h.controllers & {*CONTROLLERS, *V1}))
        if names or h.version == 2:
            said.append(f"v{h.version} {h.own} ({names or 'what needs no controller'})")
    if not said:
        refusal = cgroups_refusal.of(host, "") or cgroups_refusal.of(host, "memory")
        return Finding("cgroups", NO, refusal.cause, refusal.fix) if refusal else Finding("cgroups", NO, "none")
    refusal = cgroups_refusal.of(host, "")
    if refusal is not None:
        return Finding("cgroups", PARTLY, f"{'; '.join(said)}; no v2: {refusal.cause}", refusal.fix)
    return Finding("cgroups", WORKS, "; ".join(said))


def _files(template: Template, plan: RunLimits, limit: str) -> str:
    rows = [r for r in plan.cgroup if r.limit == limit]
    return ", ".join(dict.fromkeys(f"v{template.cgroups.used[r.hierarchy].version} {r.file}" for r in rows))


def _missing(plan: RunLimits, field: str) -> Missing | None:
    return next((m for m in plan.missing if m.control == field), None)


def _limit(layer: str, field: str, plan: tuple[Template, RunLimits], result: Callable[[], Result]) -> Finding:
    """Enforced by which file of which version, and the value that the run read back."""
    lacking = _missing(plan[1], field)  # known without a run, which may be impossible here
    if lacking is not None:
        return Finding(layer, NO, lacking.cause, lacking.fix)
    try:
        row = result().receipt[field]
    except HostError as e:
        return Finding(layer, PARTLY, _unread(_files(*plan, field), e))
    if row.status != "enforced":
        return Finding(layer, NO, row.value)
    return Finding(layer, WORKS, f"{_files(*plan, field) or row.enforced_by} = {row.value}, read back from a run")


def _unread(file: str, e: HostError) -> str:
    return f"found {file}, not tried in a run: see {e.control}"


def _default(x: Examination, layer: str, field: str) -> Finding:
    return _limit(layer, field, x.default, lambda: x.loose[0])


def memory(x: Examination) -> Finding:
    return _default(x, "memory", "memory")


def processes(x: Examination) -> Finding:
    return _default(x, "processes", "processes")


def cpus(x: Examination) -> Finding:
    return _default(x, "cpus", "cpus")


def cpu_time(x: Examination) -> Finding:
    """The keeper's own doing, by a clock of the kernel's."""
    template, plan = x.default
    lacking = _missing(plan, "cpu_time")
    if lacking is not None:
        return Finding("cpu_time", PARTLY, lacking.cause, lacking.fix)
    clock = next(r for r in plan.cgroup if r.when == "clock")
    version = template.cgroups.used[clock.hierarchy].version
    return Finding("cpu_time", WORKS, f"the keeper ends a run by the clock in v{version} {clock.file}")


def _asked(x: Examination, layer: str, field: str, limits: Limits) -> Finding:
    """A limit that is off by default, so it gets a run of its own."""
    return _limit(layer, field, x.plan(limits), lambda: run(x.loose[1], limits))


def cpuset(x: Examination) -> Finding:
    return _asked(x, "cpuset", "cpus", Limits(cpus=frozenset({min(x.host.cpus)})))


def io_rate(x: Examination) -> Finding:
    return _asked(x, "io_rate", "io_rate", Limits(io_rate=IO_RATE))


def above(x: Examination) -> Finding:
    """Limits of cgroups above ours: met first, they make the caller suffer, too."""
    limits = x.host.above
    if not limits:
        return Finding("limits above", WORKS, "no cgroup above ours has a memory or process limit")
    said = "; ".join(f"{a.file} = {a.value}" for a in limits)
    files = {a.file for a in limits}
    short = [m for m in x.default[1].missing if m.cause.split(" ")[0] in files]
    if short:
        return Finding("limits above", NO, "; ".join(m.cause for m in short), short[0].fix)
    return Finding("limits above", PARTLY, f"jails that run at once share {said}", "raise them for more jails at once")


def swap(x: Examination) -> Finding:
    """A memory limit that leaves swap alone is none."""
    plan = x.default[1]
    files = ("memory.swap.max", "memory.memsw.limit_in_bytes")
    row = next((r for r in plan.cgroup if r.file in files), None)
    if row is not None:
        return Finding("swap", WORKS, f"{row.file} = {row.value}: swap is not more memory")
    lacking = _missing(plan, "memory")
    if lacking is not None:
        return Finding("swap", NO, lacking.cause, lacking.fix)
    why = "this kernel does not account for it, and none is in use now: nothing has to be denied"
    return Finding("swap", PARTLY, why, "boot with swapaccount=1 before swap is switched on")


_NEWER = {"memory_peak": "Linux 5.19 or newer", "processes_peak": "Linux 6.1 or newer (cgroup v1: 6.13)",
          "pressure": "boot with psi=1 (CONFIG_PSI)"}  # fmt: skip
_CONTROLLER = {"memory_peak": "memory", "processes_peak": "pids", "pressure": ""}


def _counter(x: Examination, layer: str, usage: str) -> Finding:
    counter = next(c for c in counters(x.default[0].cgroups, x.default[1].files) if c.usage == usage)
    if counter.file:
        try:
            row = x.loose[0].receipt[f"counter {usage}"]
        except HostError as e:
            return Finding(layer, PARTLY, _unread(counter.file, e))
        if row.status == "enforced":
            return Finding(layer, WORKS, f"{counter.file} = {row.value}, read back from a run")
        return Finding(layer, NO, f"{counter.file}: {row.value}")
    refusal = cgroups_refusal.of(x.host, _CONTROLLER[usage])
    if refusal is not None:
        return Finding(layer, NO, refusal.cause, refusal.fix)
    return Finding(layer, NO, counter.note, _NEWER[usage])


def memory_peak(x: Examination) -> Finding:
    return _counter(x, "memory peak", "memory_peak")


def processes_peak(x: Examination) -> Finding:
    return _counter(x, "processes peak", "processes_peak")


def pressure(x: Examination) -> Finding:
    return _counter(x, "pressure (PSI)", "pressure")
