"""This machine: what it is, and the CPU time that all of it has used."""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import pyperf

import pyjail

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "benchmarks"
QUIET = 0.15  # of one CPU, used by others: below that nobody disturbs
MUCH = 0.5  # above that, what the whole machine used says nothing about a run
_CGROUP_FILES = ("/sys/fs/cgroup/cpuacct/cpuacct.usage", "/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage")


class CpuClock:
    """Seconds of CPU of the whole machine, the kernel's own threads included, from the most exact clock there is."""

    def __init__(self) -> None:
        self.file = next((f for f in _CGROUP_FILES if os.access(f, os.R_OK)), "/proc/stat")
        root = "/sys/fs/cgroup/cpu.stat"  # below a container's root this would be the container's own
        if (
            self.file == "/proc/stat"
            and os.access(root, os.R_OK)
            and not os.path.exists("/sys/fs/cgroup/cgroup.events")
        ):
            self.file = root

    def read(self) -> float:
        with open(self.file) as f:
            text = f.read()
        if self.file.endswith("cpuacct.usage"):
            return int(text) / 1e9
        if self.file.endswith("cpu.stat"):
            return int(text.split()[1]) / 1e6
        user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, text.splitlines()[0].split()[1:])
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")

    def idle_rate(self, seconds: float) -> float:
        """CPU seconds in each second while we do nothing: what else goes on here."""
        start, at = self.read(), time.monotonic()
        time.sleep(seconds)
        return (self.read() - start) / (time.monotonic() - at)

    def wait_until_quiet(self, seconds: float) -> float:
        """Until others use little CPU, for so many seconds at most; how long it took."""
        start = time.monotonic()
        while time.monotonic() - start < seconds and self.idle_rate(1.0) > QUIET:
            pass
        return time.monotonic() - start


def compile_c(name: str) -> str:
    """benchmarks/NAME.c as a static program; its path."""
    source, program = ROOT / "benchmarks" / f"{name}.c", BUILD / name
    BUILD.mkdir(parents=True, exist_ok=True)
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-static", "-Wall", "-Wextra", "-o", program, source], check=True, timeout=120)
    return str(program)


def memory_available() -> int:
    with open("/proc/meminfo") as f:
        rows = dict(line.split(":", 1) for line in f)
    return int(rows["MemAvailable"].split()[0]) * 1024


def pss(pid: int | str) -> int:
    """Bytes of memory of one process, each shared page counted by its share."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("Pss:"))


def rss(pid: int | str = "self") -> int:
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _cgroups() -> str:
    with open("/proc/self/mounts") as f:
        kinds = {line.split()[2] for line in f if line.split()[2] in ("cgroup", "cgroup2")}
    return {frozenset({"cgroup2"}): "v2", frozenset({"cgroup"}): "v1"}.get(
        frozenset(kinds), "hybrid" if kinds else "none"
    )


def facts(clock: CpuClock) -> dict[str, str]:
    """For the head of the report."""
    about = pyperf.Run([1.0], metadata={"name": "machine"}).get_metadata()
    libc = f"{platform.libc_ver()[0]} {platform.libc_ver()[1]}" if ctypes.util.find_library("c") else "?"
    found = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "kernel": f"{os.uname().release}, {os.uname().machine}",
        "CPUs": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}, {about.get('cpu_model_name', 'model unknown')}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB",
        "virtual machine": _hypervisor(),
        "cgroups": _cgroups(),
        "user": "root" if os.getuid() == 0 else f"uid {os.getuid()}",
        "load at the start": f"{os.getloadavg()[0]:.2f}",
        "other CPU use at the start": f"{clock.idle_rate(1.0):.1%} of one CPU ({clock.file})",
        "pyjail": f"{pyjail.__version__}, {_commit()}",
        "Python": f"{platform.python_version()} ({about.get('python_compiler', platform.python_compiler())}), {libc}",
        "pyperf": pyperf.__version__,
    }
    return {name: str(value) for name, value in found.items()}


def _hypervisor() -> str:
    try:
        with open("/proc/cpuinfo") as f:
            return "yes" if " hypervisor" in f.read() else "no"
    except OSError:
        return "?"


def _commit() -> str:
    if shutil.which("git") is None:
        return "commit unknown"
    done = subprocess.run(
        ["git", "log", "-1", "--format=%h %cs"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "commit unknown"
