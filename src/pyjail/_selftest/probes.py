"""How exact each limit is: what was asked, and what a program got or the host counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyjail import Result, Verdict
from pyjail._selftest.attacks import measures
from pyjail._selftest.inside import new_token
from pyjail._selftest.judge import SLACK, Outcome
from pyjail._selftest.report import Probe, Status

MIB = 1 << 20


@dataclass(frozen=True)
class Bench:
    """What a probe is given."""

    execute: Callable[..., Result]
    slowness: float
    missing: Mapping[str, str]

    def run(self, program: str, limits: dict[str, Any], **scene: Any) -> tuple[Result, Outcome]:
        """One program of ``measures.py`` under these limits."""
        token = new_token()
        result = self.execute(f"measures.{program}", measures.__name__, token, limits, scene=scene)
        return result, Outcome(result, token)


Measure = Callable[[Bench], Iterator[Probe]]
ALL: list[Measure] = []


def measure(needs: tuple[str, ...] = (), unit: str = "") -> Callable[[Measure], Measure]:
    """Declare a probe; without what it needs it is not applicable, and not run."""

    def declare(function: Measure) -> Measure:
        def run(bench: Bench) -> Iterator[Probe]:
            why = next((bench.missing[n] for n in needs if n in bench.missing), "")
            if why:
                yield Probe(function.__name__, unit, 0, None, Status.NOT_APPLICABLE, why)
            else:
                yield from function(bench)

        run.__name__ = function.__name__
        ALL.append(run)
        return run

    return declare


def _ended(name: str, unit: str, asked: float, measured: float | None, result: Result, verdict: Verdict) -> Probe:
    """A limit whose end is a verdict."""
    if result.verdict is verdict:
        return Probe(name, unit, asked, measured, Status.CONTAINED, result.verdict.value)
    if result.verdict is Verdict.SECURITY:
        return Probe(name, unit, asked, None, Status.NOT_APPLICABLE, f"the filter ended the run at {result.syscall}")
    return Probe(
        name, unit, asked, measured, Status.ESCAPED, f"{verdict.value} should have ended it, not {result.verdict.value}"
    )


def _told(name: str, unit: str, asked: float, result: Result, outcome: Outcome, counted: float | None = None) -> Probe:
    """A limit at which the kernel refuses: the program tells how much it got, the host what it counted."""
    told = next((s["measure"] for s in outcome.said if "measure" in s), None)
    if result.verdict is Verdict.SECURITY:
        return Probe(name, unit, asked, None, Status.NOT_APPLICABLE, f"the filter ended the run at {result.syscall}")
    if told is None or not outcome.done:
        last = (result.stderr or b"").decode("utf-8", "replace").strip().rpartition("\n")[2]
        return Probe(
            name, unit, asked, None, Status.ERROR, f"it did not come to its end: {result.verdict.value}. {last}"
        )
    most = max(told, counted or 0)
    detail = "told by the program"
    if counted is not None:
        detail = f"counted outside: {counted:g}"
    elif name in result.limits_hit:
        detail = "told by the program; seen outside: full"
    return Probe(name, unit, asked, most, Status.ESCAPED if most > asked else Status.CONTAINED, detail)


@measure(("cpu_time",), "s")
def cpu_time(bench: Bench) -> Iterator[Probe]:
    """Of two processes that compute at once."""
    asked = 0.3 * bench.slowness
    result, _ = bench.run("cpu", {"cpu_time": asked, "cpus": None})
    yield _ended("cpu_time", "s", asked, result.usage.cpu_time, result, Verdict.CPU_TIME)


@measure((), "s")
def wall_time(bench: Bench) -> Iterator[Probe]:
    """Of a process that sleeps."""
    asked = 0.3 * bench.slowness
    result, _ = bench.run("sleep", {"wall_time": asked})
    yield _ended("wall_time", "s", asked, result.usage.wall_time, result, Verdict.WALL_TIME)


@measure(("cpus",), "cores")
def cpus(bench: Bench) -> Iterator[Probe]:
    """Share of a process that computes."""
    asked = 0.5
    result, _ = bench.run("share", {"cpus": asked}, seconds=0.5 * bench.slowness)
    cpu, wall = result.usage.cpu_time or 0.0, result.usage.wall_time or 1.0
    fair = cpu <= asked * (wall + 0.2)  # a quota is given out per period of 0.1 s, the first and last ones not whole
    status = Status.CONTAINED if fair else Status.ESCAPED
    yield Probe("cpus", "cores", asked, cpu / wall, status, f"{cpu:.3f} s of CPU in {wall:.3f} s")


@measure(("memory",), "bytes")
def memory(bench: Bench) -> Iterator[Probe]:
    """The peak of a process that takes what it gets."""
    asked = 32 * MIB
    result, _ = bench.run("take", {"memory": asked})
    peak = result.usage.memory_peak
    found = _ended("memory", "bytes", asked, peak, result, Verdict.MEMORY)
    over = peak is not None and peak > asked * SLACK
    yield found if not over else Probe("memory", "bytes", asked, peak, Status.ESCAPED, "the peak is above the limit")


@measure(("memory",), "bytes")
def memory_peak(bench: Bench) -> Iterator[Probe]:
    """By how much it rises when a known amount is used."""
    asked = 32 * MIB
    base, _ = bench.run("allocate", {}, bytes=16 * MIB)  # above what starting up takes and gives back
    more, _ = bench.run("allocate", {}, bytes=16 * MIB + asked)
    if base.usage.memory_peak is None or more.usage.memory_peak is None:
        yield Probe("memory_peak", "bytes", asked, None, Status.NOT_APPLICABLE, "this kernel counts no peak")
        return
    measured = more.usage.memory_peak - base.usage.memory_peak
    status = Status.CONTAINED if measured > asked - 2 * MIB else Status.ERROR
    yield Probe("memory_peak", "bytes", asked, measured, status, "used; the peak rose by")


@measure(("processes",))
def processes(bench: Bench) -> Iterator[Probe]:
    """Alive at once."""
    result, outcome = bench.run("processes", {"processes": 12})
    yield _told("processes", "", 12, result, outcome, result.usage.processes_peak)


@measure((), "bytes")
def output(bench: Bench) -> Iterator[Probe]:
    """Bytes kept of a stream that is longer by one, and bytes counted of one that is not."""
    asked = 100_001
    result, _ = bench.run("write", {"output": asked}, bytes=asked + 1)
    found = _ended("output kept", "bytes", asked, len(result.stdout), result, Verdict.OUTPUT)
    yield (
        found
        if len(result.stdout) == asked
        else Probe("output kept", "bytes", asked, len(result.stdout), Status.ERROR, "")
    )
    result, _ = bench.run("write", {"output": asked}, bytes=asked)
    exact = result.verdict is Verdict.OK and result.stdout_bytes == asked == len(result.stdout)
    status = Status.CONTAINED if exact else Status.ERROR
    yield Probe("output counted", "bytes", asked, result.stdout_bytes, status, result.verdict.value)


@measure(("own_tmp",), "bytes")
def disk(bench: Bench) -> Iterator[Probe]:
    """Bytes that /box takes."""
    asked = 2 * MIB
    result, outcome = bench.run("disk", {"disk": asked}, most=2 * asked)
    yield _told("disk", "bytes", asked, result, outcome)


@measure(("own_tmp",))
def inodes(bench: Bench) -> Iterator[Probe]:
    """Files in /box."""
    result, outcome = bench.run("inodes", {"inodes": 50}, most=100)
    yield _told("inodes", "", 50, result, outcome)


@measure(("own_tmp",), "bytes")
def file_size(bench: Bench) -> Iterator[Probe]:
    """Bytes of one file."""
    asked = 1_000_001
    result, outcome = bench.run("file_size", {"file_size": asked}, most=2 * asked)
    yield _told("file_size", "bytes", asked, result, outcome)


@measure()
def open_files(bench: Bench) -> Iterator[Probe]:
    """Descriptors open at once."""
    result, outcome = bench.run("open_files", {"open_files": 40}, most=100)
    yield _told("open_files", "", 40, result, outcome)


@measure(("proc",), "bytes")
def address_space(bench: Bench) -> Iterator[Probe]:
    """Virtual memory of one process, taken in steps of 1 MiB."""
    asked = 512 * MIB
    result, outcome = bench.run("address_space", {"address_space": asked})
    yield _told("address_space", "bytes", asked, result, outcome)
