"""Facts -> usage, and which limits a run met. Pure. Loaded when somebody looks, or with the second run."""

from __future__ import annotations

from pyjail._plan.compile import RunLimits
from pyjail._plan.report import SIZE, Facts, records
from pyjail._result.usage import Usage
from pyjail._verdict import noise as verdict_noise
from pyjail._verdict.verdict import Reading, cpu_time, first, number_in, number_of


def wall_time(facts: Facts) -> float | None:
    """s from just before execve to the end of the main process."""
    return (facts.ended - facts.started) / 1e9 if facts.started and facts.ended >= facts.started else None


def usage(facts: Facts, reading: Reading) -> Usage:
    """Numbers of the run; None where this kernel has none."""
    cpu = cpu_time(facts)
    user, system = (facts.rusage[0] / 1e6, facts.rusage[1] / 1e6)
    if facts.cpu is not None:  # the kernel's own division of the tree's time, scaled to what is ours of it
        u, s = (
            first(reading.value("cpu.stat", "user_usec"), facts.rusage[0]),
            first(reading.value("cpu.stat", "system_usec"), facts.rusage[1]),
        )
        total = (u or 0) + (s or 0)
        user = round(cpu * (u or 0) / total, 9) if total else cpu
        system = max(0.0, round(cpu - user, 9))
    wall = wall_time(facts)
    throttled = reading.value("cpu.stat", "throttled_time")
    throttled_us = reading.value("cpu.stat", "throttled_usec")
    throttled_s = None if throttled_us is None else throttled_us / 1e6
    if throttled is not None:
        throttled_s = throttled / 1e9
    switches = (facts.rusage[4], facts.rusage[5]) if facts.status is not None else None
    pressure = _pressure(reading)
    quiet, noise = verdict_noise.reasons(wall, cpu, throttled_s, pressure, switches)
    peak = first(reading.number("memory.peak"), reading.number("memory.max_usage_in_bytes"))
    return Usage(
        wall_time=wall,
        cpu_time=cpu,
        user_time=user,
        system_time=system,
        setup_time=(facts.started - facts.requested) / 1e9 if facts.started else None,
        teardown_time=(facts.reported - facts.ended) / 1e9 if facts.ended else None,
        memory_peak=peak,
        memory_before=None if peak is None else reading.before("memory.current", "memory.usage_in_bytes"),
        processes_peak=reading.number("pids.peak"),
        io_read=reading.total("io.stat", "rbytes"),
        io_written=reading.total("io.stat", "wbytes"),
        context_switches=switches,
        page_faults=facts.rusage[2] + facts.rusage[3] if facts.status is not None else None,
        throttled_time=throttled_s,
        pressure=pressure,
        memory_left=_memory_left(reading),
        idle=facts.trip == "wall" and wall is not None and cpu < wall / 10,
        quiet=quiet,
        noise=noise,
    )


def sums(facts: Facts, run: RunLimits) -> tuple[float, int | None]:
    """`Usage.cpu_time` and `Usage.memory_peak` alone, in a twentieth of the time."""
    if facts.status is None and not facts.started:
        return 0.0, None
    rows = run.cgroup
    for _, row, failed, text in records(facts.raw, SIZE + facts.reads_at):
        if rows[row].file in _PEAKS and not failed:
            return cpu_time(facts), number_of(text.decode("latin-1"))
    return cpu_time(facts), None


_PEAKS = ("memory.peak", "memory.max_usage_in_bytes")
_KINDS = ("anon", "file", "shmem", "kernel", "sock")


def _memory_left(reading: Reading) -> dict[str, int] | None:
    if "memory.stat" not in reading.texts:
        return None
    found = {kind: reading.value("memory.stat", kind) for kind in _KINDS}
    return {k: v for k, v in found.items() if v is not None} or None


def _pressure(reading: Reading) -> dict[str, int] | None:
    found = {}
    for resource, file in _PRESSURES:
        if file in reading.texts:
            text, before = reading.texts[file][0]
            if "total=" in text:
                found[resource] = _stalled(text) - (_stalled(before) if before else 0)
    return found or None


_PRESSURES = tuple((resource, f"{resource}.pressure") for resource in ("cpu", "memory", "io"))


def _stalled(text: str) -> int:
    """µs in the "some" line, the first, of a pressure file."""
    at = text.find("total=") + len("total=")
    end = text.find("\n", at)
    return number_in(text[at:end] if end >= 0 else text[at:])


def workspaces(run: RunLimits, facts: Facts) -> dict[str, tuple[int, int, int, int]]:
    """(bytes, bytes free, inodes, inodes free) of each tmpfs by its place; a session's /box comes after the run's."""
    places, spaces = [row.target for row in run.tmpfs], facts.tmpfs
    return dict(zip([*places, "/box"] if len(spaces) > len(places) else places, spaces, strict=False))


def limits_hit(facts: Facts, run: RunLimits, reading: Reading, kills: int) -> frozenset[str]:
    """Limits that the kernel refused at, by its own counters."""
    hit = set()
    if (reading.value("pids.events", "max") or 0) > 0:
        hit.add("processes")
    if kills:
        hit.add("memory")
    disk, inodes = run.limits.disk is not None, run.limits.inodes is not None
    if disk or inodes:
        for target, (size, free, nodes, nodes_free) in workspaces(run, facts).items():
            if target in ("/box", "/tmp"):
                if disk and size and free == 0:
                    hit.add("disk")
                if inodes and nodes and nodes_free == 0:
                    hit.add("inodes")
    if facts.trip in _TRIPS:
        hit.add(_TRIPS[facts.trip])
    return frozenset(hit)


_TRIPS = {"cpu": "cpu_time", "wall": "wall_time", "output": "output", "memory": "memory"}
