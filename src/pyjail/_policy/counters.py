"""Where the numbers of `Usage` come from on this kernel: for a receipt, and for the doctor."""

from __future__ import annotations

from pyjail._base.records import NamedTuple
from pyjail._policy.cgroup import Cgroups


class Counter(NamedTuple):
    """Where a number of `Usage` comes from on this kernel; ``file`` is "" where it has none."""

    usage: str
    file: str
    note: str


# Field of Usage -> what it needs, the files that may give it, the best first, and since when the kernel has them.
_COUNTERS = (
    ("cpu_time", "", ("cpu.stat", "cpuacct.usage"), ""),
    ("memory_peak", "memory", ("memory.peak", "memory.max_usage_in_bytes"), "memory.peak is in Linux 5.19 and later"),
    ("oom_kills", "memory", ("memory.events", "memory.oom_control"), ""),
    ("memory_left", "memory", ("memory.stat",), "read on cgroup v2 only"),
    ("processes_peak", "pids", ("pids.peak",), "pids.peak is in Linux 6.1 and later (cgroup v1: 6.13)"),
    ("io_read", "io", ("io.stat",), ""),
    ("pressure", "", ("cpu.pressure",), "needs cgroup v2 and psi=1 on the kernel command line"),
    ("throttled_time", "cpu", ("cpu.stat",), ""),
)


def counters(cgroups: Cgroups, files: tuple[frozenset[str], ...]) -> list[Counter]:
    """What this kernel's leaves can tell, by looking into one."""
    found = []
    for usage, controller, candidates, since in _COUNTERS:
        if controller and controller not in cgroups.where:
            found.append(Counter(usage, "", f"no {controller} controller"))
            continue
        names = files[cgroups.where[controller]] if controller else frozenset().union(*files)
        file = next((c for c in candidates if c in names), "")
        if usage == "memory_left" and "memory.peak" not in names and "memory.events" not in names:
            file = ""  # v1's memory.stat has other words
        note = "" if file else since or "no writable cgroup"
        if file == "memory.peak":
            note = (
                "reset before each run"
                if "memory.peak (reset)" in names
                else "cannot be reset before Linux 6.12: every run has a new leaf"
            )
        found.append(Counter(usage, file, note))
    return found
