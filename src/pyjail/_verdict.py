"""Facts -> verdict, usage, receipt. Pure. Decided by kernel counters and the keeper's own notes, never by guessing
from an exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from pyjail import _mountinfo
from pyjail._plan import RunLimits, Template
from pyjail._result import Control, Usage, Verdict
from pyjail._units import show_size
from pyjail._wire import Facts, Prepared, Texts, parse_texts
from pyjail.policy.seccomp import name_of


@dataclass(slots=True)
class Evidence:
    """What the facts say, before precedence: each field is one counter or note."""

    trip: str = "none"
    oom_kills: int = 0
    outside_kills: int = 0  # by the OOM killer, while this run was within its own limit
    lost: bool = False  # a file that a limit rests on could not be read at the end
    starved: bool = False  # setting up or execve failed for lack of memory
    cpu_time: float | None = None
    cpu_limit: float | None = None
    wall_time: float | None = None
    wall_limit: float | None = None
    written: int = 0
    output_limit: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    executed: bool = True


def _over(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value >= limit


def _unexplained(e: Evidence) -> bool:
    """The program's process ended before execve, and no limit did it."""
    return not e.executed and e.trip == "none" and not e.oom_kills and not e.starved


def _outside(e: Evidence) -> bool:
    """Something other than this run's own limits decided how it ended: nothing can be said of the program."""
    return e.outside_kills > 0 or e.lost


# First row that holds wins.
PRECEDENCE: tuple[tuple[Verdict, Callable[[Evidence], bool]], ...] = (
    (Verdict.JAIL_ERROR, lambda e: (e.exit_code is None and e.signal is None) or _unexplained(e) or _outside(e)),
    (Verdict.SECURITY, lambda e: e.trip == "security"),
    (Verdict.MEMORY, lambda e: e.oom_kills > 0 or e.starved or e.trip == "memory"),
    (Verdict.CPU_TIME, lambda e: e.trip == "cpu" or _over(e.cpu_time, e.cpu_limit)),
    (Verdict.WALL_TIME, lambda e: e.trip == "wall" or _over(e.wall_time, e.wall_limit)),
    (Verdict.OUTPUT, lambda e: e.trip == "output" or (e.output_limit is not None and e.written > e.output_limit)),
    (Verdict.SIGNALED, lambda e: e.signal is not None),
    (Verdict.RUNTIME_ERROR, lambda e: e.exit_code != 0),
    (Verdict.OK, lambda e: True),
)


def decide(evidence: Evidence) -> Verdict:
    """The verdict of the first row of `PRECEDENCE` that holds."""
    return next(verdict for verdict, holds in PRECEDENCE if holds(evidence))


class Reading:
    """The cgroup texts of one run, by file name."""

    def __init__(self, facts: Facts, run: RunLimits) -> None:
        self.texts: dict[str, list[str]] = {}
        for i, row in enumerate(run.cgroup):
            if i in facts.reads:
                self.texts.setdefault(row.file, []).append(facts.reads[i])

    def text(self, name: str) -> str | None:
        found = self.texts.get(name)
        return found[0] if found else None

    def number(self, name: str) -> int | None:
        text = self.text(name)
        return int(text) if text is not None and text.strip().isdigit() else None

    def value(self, name: str, key: str) -> int | None:
        """The number after ``key`` in a file of "key value" lines."""
        for text in self.texts.get(name, ()):
            for line in text.split("\n"):
                if line.startswith(key) and line[len(key) : len(key) + 1] == " ":
                    return int(line[len(key) :])
        return None


def _first(*values: int | None) -> int | None:
    return next((v for v in values if v is not None), None)


def usage(facts: Facts, reading: Reading) -> Usage:
    """Numbers of the run; None where this kernel has none."""
    used_us = reading.value("cpu.stat", "usage_usec")
    if used_us is None:
        ns = reading.number("cpuacct.usage")
        used_us = None if ns is None else ns // 1000
    cpu = None if used_us is None else max(0, used_us - facts.exec_cpu // 1000) / 1e6
    user, system = (facts.rusage[0] / 1e6, facts.rusage[1] / 1e6)
    if cpu is not None:  # the kernel's own division of the tree's time, scaled to what is ours of it
        u, s = (
            _first(reading.value("cpu.stat", "user_usec"), facts.rusage[0]),
            _first(reading.value("cpu.stat", "system_usec"), facts.rusage[1]),
        )
        total = (u or 0) + (s or 0)
        user = cpu * (u or 0) / total if total else cpu
        system = cpu - user
    else:
        cpu = user + system
    wall = (facts.ended - facts.started) / 1e9 if facts.started and facts.ended >= facts.started else None
    throttled = reading.value("cpu.stat", "throttled_time")
    throttled_us = reading.value("cpu.stat", "throttled_usec")
    read, written = _block_io(reading)
    peak = _first(reading.number("memory.peak"), reading.number("memory.max_usage_in_bytes"))
    return Usage(
        wall_time=wall,
        cpu_time=cpu,
        user_time=user,
        system_time=system,
        setup_time=(facts.started - facts.requested) / 1e9 if facts.started else None,
        teardown_time=(facts.reported - facts.ended) / 1e9 if facts.ended else None,
        memory_peak=peak,
        processes_peak=reading.number("pids.peak"),
        io_read=read,
        io_written=written,
        context_switches=(facts.rusage[4], facts.rusage[5]) if facts.status is not None else None,
        page_faults=facts.rusage[2] + facts.rusage[3] if facts.status is not None else None,
        throttled_time=throttled / 1e9
        if throttled is not None
        else throttled_us / 1e6
        if throttled_us is not None
        else None,
        pressure=_pressure(reading),
        memory_left=_memory_left(reading),
        idle=facts.trip == "wall" and wall is not None and cpu < wall / 10,
    )


def _block_io(reading: Reading) -> tuple[int | None, int | None]:
    text = reading.text("io.stat")
    if text is None:
        return None, None
    read = written = 0
    for word in text.split():
        key, _, value = word.partition("=")
        read += int(value) if key == "rbytes" else 0
        written += int(value) if key == "wbytes" else 0
    return read, written


_KINDS = ("anon", "file", "shmem", "kernel", "sock")


def _memory_left(reading: Reading) -> dict[str, int] | None:
    found = {kind: reading.value("memory.stat", kind) for kind in _KINDS}
    return {k: v for k, v in found.items() if v is not None} or None


def _pressure(reading: Reading) -> dict[str, int] | None:
    found = {}
    for resource in ("cpu", "memory", "io"):
        text = reading.text(f"{resource}.pressure")
        if text and "total=" in text:
            found[resource] = int(text.partition("total=")[2].split()[0])
    return found or None


NEAR = 1 << 18  # what a charge of several pages may miss the limit by


def oom_kills(reading: Reading, limit: int | None) -> tuple[int, int]:
    """Processes of this run that the kernel killed for memory: (for its own limit, for one above or the machine's).

    memory.events counts in "oom" how often this cgroup's own limit left no way out, in "oom_kill" its processes
    that died, for whatever limit (cgroup-v2.rst). v1 has no "oom" (and failcnt stays 0 in some kernels): there the
    watermark says whether the limit was reached.
    """
    kills = _first(reading.value("memory.events", "oom_kill"), reading.value("memory.oom_control", "oom_kill")) or 0
    own = reading.value("memory.events", "oom")
    if own is None and limit is not None:
        own = (reading.number("memory.max_usage_in_bytes") or 0) >= limit - NEAR
    return (kills, 0) if own else (0, kills)


_RESTS_ON = {"memory": ("memory.",), "processes": ("pids.",), "cpu_time": ("cpu.stat", "cpuacct.usage")}


def lost_files(facts: Facts, run: RunLimits) -> list[str]:
    """Files under a limit of this run that the leaf had at its start and that could not be read at its end."""
    if facts.failure is not None:
        return []
    asked = tuple(p for name, files in _RESTS_ON.items() if getattr(run.limits, name) is not None for p in files)
    return [
        row.file
        for i, row in enumerate(run.cgroup)
        if row.when in ("read", "watch", "clock") and row.file.startswith(asked) and i not in facts.reads
    ]


def starved(facts: Facts, run: RunLimits, memory_total: int) -> bool:
    """Setting up or execve failed because the memory limit (or the machine) is too small for the program."""
    failure = facts.failure
    if failure is not None:
        if failure.errno == 12:  # ENOMEM
            return True
        if failure.step == "cgroup" and failure.errno == 16 and failure.index is not None:  # v1: EBUSY below usage
            return failure.index < len(run.cgroup) and run.cgroup[failure.index].limit == "memory"
        return False
    # execve past its point of no return has no errno to give: the kernel kills with SIGSEGV. The segments say why.
    bound = min(memory_total, run.limits.address_space or memory_total)
    died = facts.trip == "none" and facts.status is not None and facts.status & 0x7F == signal.SIGSEGV
    return died and facts.image > int(bound)


def limits_hit(facts: Facts, run: RunLimits, reading: Reading, kills: int) -> frozenset[str]:
    """Limits that the kernel refused at, by its own counters."""
    hit = set()
    if (reading.value("pids.events", "max") or 0) > 0:
        hit.add("processes")
    if kills:
        hit.add("memory")
    for row, (size, free, inodes, inodes_free) in zip(run.tmpfs, facts.tmpfs, strict=False):
        if row.target in ("/box", "/tmp"):
            if size and run.limits.disk is not None and free == 0:
                hit.add("disk")
            if inodes and run.limits.inodes is not None and inodes_free == 0:
                hit.add("inodes")
    trips = {"cpu": "cpu_time", "wall": "wall_time", "output": "output", "memory": "memory"}
    if facts.trip in trips:
        hit.add(trips[facts.trip])
    return frozenset(hit)


def exit_of(status: int | None) -> tuple[int | None, int | None]:
    """(exit code, signal) of a wait status; with none known, init was killed with everything else: SIGKILL."""
    if status is None:
        return None, int(signal.SIGKILL)
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    return os.WEXITSTATUS(status), None


def syscall_name(facts: Facts) -> str | None:
    """What the filter ended the run for."""
    if facts.trip != "security" or facts.syscall == -1:  # -1: its caller died before the keeper could ask which
        return None
    return name_of(facts.arch, facts.syscall)


# ---- the receipt ----


def receipt(
    template: Template, run: RunLimits, facts: Facts, ids: tuple[int, int], prepared: Prepared, captured: Sequence[bool]
) -> Iterator[Control]:
    """One row per control, values as the kernel gave them back for this run."""
    missing = {m.control: m.cause for m in (*template.missing, *run.missing)}
    texts = parse_texts(facts.texts)
    for row in _limit_rows(run, facts, texts, missing):
        if row.name == "output" and not any(captured):
            why = "no stream is captured: what is behind the caller's own fds bounds it"
            row = Control("output", row.asked, "", why, "not_asked")
        elif row.name == "output" and row.status == "enforced" and not all(captured):
            kept, own = ("stdout", "stderr") if captured[0] else ("stderr", "stdout")
            row = replace(row, value=f"{run.limits.output} bytes of {kept}; {own} is the caller's own")
        yield row
    yield from _counter_rows(run, facts)
    yield from _process_rows(template, texts, ids)
    yield from _fence_rows(template, texts, missing)
    yield from _template_rows(template, prepared)


def _limit_rows(run: RunLimits, facts: Facts, texts: Texts, missing: dict[str, str]) -> Iterator[Control]:
    limits = run.limits
    for name in ("cpu_time", "wall_time", "memory", "processes", "output", "disk", "inodes", "cpus", "io_rate"):
        asked = getattr(limits, name)
        shown = show_size(asked) if name in ("memory", "output", "disk", "io_rate") else str(asked)
        if isinstance(asked, frozenset):
            shown = ",".join(map(str, sorted(asked)))
        if asked is None:
            yield Control(name, "none", "", "", "not_asked")
            continue
        if name in missing:
            yield Control(name, shown, "", missing[name], "not_enforced")
            continue
        # One value per file: io.max has a row per disk, and the last one reads back them all.
        rows = {r.file: texts.set_values.get(i, "?") for i, r in enumerate(run.cgroup) if r.limit == name}
        by, value = ", ".join(rows), ", ".join(rows.values())
        if name == "cpu_time":
            by = "keeper, by " + next((r.file for r in run.cgroup if r.when == "clock"), "RLIMIT_CPU")
            value = f"{asked:g} s"
        elif name == "wall_time":
            by, value = "keeper's timer, CLOCK_MONOTONIC", f"{asked:g} s"
        elif name == "output":
            by, value = "keeper's pumps", f"{asked} bytes per stream"
        elif name in ("disk", "inodes"):
            by = "tmpfs size" if name == "disk" else "tmpfs nr_inodes"
            which = 0 if name == "disk" else 2
            found = {r.target: t[which] for r, t in zip(run.tmpfs, facts.tmpfs, strict=False)}
            value = ", ".join(f"{t}={found[t]}" for t in ("/box", "/tmp") if t in found)
        elif name == "cpus" and not rows:
            by, value = "all that there are", str(run.busy)
        yield Control(name, shown, by, value, "enforced")
    for i, row in enumerate(run.rlimits):
        soft, hard = texts.rlimits.get(i, (-1, -1))
        fine = soft == row.soft and (row.limit not in missing or row.limit == "cpu_time")
        asked = str(getattr(limits, row.limit)) if row.limit else "0"
        yield Control(row.name, asked, "setrlimit", f"{soft}/{hard}", "enforced" if fine else "not_enforced")


def _counter_rows(run: RunLimits, facts: Facts) -> Iterator[Control]:
    reading = Reading(facts, run)
    for c in run.counters:
        text = reading.text(c.file) if c.file else None
        if text is None:
            yield Control(f"counter {c.usage}", "", c.file, c.note or "could not be read", "not_asked")
            continue
        value = " ".join(text.split())
        value = value if len(value) <= 60 else value[:57] + "..."
        yield Control(f"counter {c.usage}", "", c.file, f"{value} ({c.note})" if c.note else value, "enforced")


def _process_rows(template: Template, texts: Texts, ids: tuple[int, int]) -> Iterator[Control]:
    status = {k: v.strip() for k, _, v in (line.partition(":") for line in texts.proc_status.splitlines())}
    jail = template.jail
    uid, gid = status.get("Uid", "?").split(), status.get("Gid", "?").split()
    right = uid == [str(jail.uid)] * 4 and gid == [str(jail.gid)] * 4
    value = f"uid {uid[0]} gid {gid[0]}; outside uid {ids[0]} gid {ids[1]}"
    yield Control("ids", f"uid {jail.uid} gid {jail.gid}", "user namespace, setresuid", value, _done(right))
    caps = [status.get(f"Cap{n}", "?") for n in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
    none = all(c.strip("0") == "" for c in caps)
    yield Control("capabilities", "none", "capset, PR_CAPBSET_DROP", " ".join(caps), _done(none))
    groups = status.get("Groups", "")
    by = "setgroups" if template.privileged else "setgroups denied; the caller's stay, unmapped"
    yield Control("groups", "none", by, groups or "none", _done(template.privileged is False or not groups))
    nnp = status.get("NoNewPrivs", "?")
    yield Control("no_new_privs", "1", "prctl", nnp, _done(nnp == "1"))


def _fence_rows(template: Template, texts: Texts, missing: dict[str, str]) -> Iterator[Control]:
    jail = template.jail
    mode = next((line.split()[1] for line in texts.proc_status.splitlines() if line.startswith("Seccomp:")), "?")
    if jail.seccomp == "none":
        yield Control("seccomp", "none", "", "", "not_asked")
    else:
        f = template.filter
        value = f"mode {mode}, {len(f.program) // 8} instructions, sha256 {f.digest}"
        asked = jail.seccomp if isinstance(jail.seccomp, str) else f"{jail.seccomp.base} changed"
        yield Control("seccomp", asked, "seccomp filter", value, _done(mode == "2"))
    rules = template.landlock
    if not jail.landlock:
        yield Control("landlock", "none", "", "", "not_asked")
    elif "landlock" in missing:
        yield Control("landlock", "True", "", missing["landlock"], "not_enforced")
    else:
        value = (
            f"ABI {rules.abi}, fs {rules.fs:#x}, net {rules.net:#x}, scoped {rules.scoped:#x}, {len(rules.rules)} rules"
        )
        yield Control("landlock", "True", "landlock_restrict_self", value, "enforced")
    ours = {os.readlink(f"/proc/self/ns/{n}") for n in ("user", "mnt", "pid", "ipc", "net", "uts", "cgroup")}
    for text in texts.namespaces:
        name = text.partition(":")[0]
        yield Control(f"namespace {name}", "own", "clone3/unshare", text, _done(text not in ours))


def _template_rows(template: Template, prepared: Prepared) -> Iterator[Control]:
    failed = prepared.user_namespaces
    value = f"the kernel refused it: {os.strerror(failed)}" if failed else "0"
    yield Control("nested user namespaces", "0", "user.max_user_namespaces", value, _done(not failed))
    rootfs = template.jail.rootfs
    yield _mountinfo.control(template, prepared.mountinfo, "host view" if rootfs is None else str(rootfs))


def _done(fine: bool) -> str:
    return "enforced" if fine else "not_enforced"
