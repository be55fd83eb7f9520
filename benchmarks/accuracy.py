"""How right are the numbers? Programs that know what they used, run in jails, against what pyjail reports of them.

    python benchmarks/accuracy.py [--quick] [--ratios] [--output FILE]

Each row says PASS or FAIL; the table goes to benchmarks/ACCURACY.md, in the section of this kind of machine. Goals: CPU
within 1 % or 2 ms, peak memory within 1 MiB or 1 %, wall within 1 ms, processes exact, and a spread over 50 runs that is not
worse than that of bare getrusage. ``--ratios``: an emulated machine, whose milliseconds mean nothing: median times within
5 % or 100 ms, a spread of twice the bare one, and no file is written: python -m tests.vm.guest .venv/bin/python benchmarks/accuracy.py --quick --ratios
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyjail

HERE = Path(__file__).resolve().parent
MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """One program and the number of it that is looked at."""

    group: str
    name: str
    args: tuple[str, ...]
    exact: int | None = None  # of processes


CASES = (
    Case("cpu", "1 thread, 300 ms", ("burn", "0", "300")),
    Case("cpu", "4 threads, 75 ms each", ("threads", "4", "75")),
    Case("cpu", "4 processes, 75 ms each", ("processes", "4", "75")),
    Case("cpu", "6 orphans, 50 ms each", ("orphans", "6", "50")),
    Case("cpu", "2000 short-lived children", ("short", "2000")),
    Case("cpu", "nothing", ("nothing",)),
    Case("memory", "heap, 48 MiB", ("heap", "48")),
    Case("memory", "stack, 32 MiB", ("stack", "32")),
    Case("memory", "tmpfs, 48 MiB", ("tmpfs", "48")),
    Case("memory", "fork-shared, 32 MiB and half of it written", ("shared", "32")),
    Case("memory", "memory-mapped file, 48 MiB", ("mapped", "48")),
    Case("memory", "nothing", ("nothing",)),
    Case("wall", "sleeps 50 ms", ("sleep", "0", "50")),
    Case("wall", "burns 50 ms", ("burn", "0", "50")),
    Case("wall", "nothing", ("nothing",)),
    Case("processes", "alone", ("nothing",), 1),
    Case("processes", "10 children at once", ("alive", "10"), 11),
    Case("processes", "20 threads at once", ("alive-threads", "20"), 21),
    Case("processes", "2000 children, one after the other", ("short", "2000"), 2),
)
LIMITS = pyjail.Limits(
    cpu_time=None, wall_time=600, memory="512M", stack="64M", disk="64M", file_size="64M", cpus=None, processes=64
)


@dataclass(frozen=True)
class Row:
    """What a case came to. Numbers in ms, MiB or processes."""

    group: str
    name: str
    true: float
    reported: float
    off: float  # of the run that is off most
    fine: bool
    note: str = ""


def compile_program(where: Path) -> Path:
    """The programs, as one static binary."""
    binary = where / "program"
    source = str(HERE / "accuracy_program.c")
    subprocess.run(["gcc", "-O1", "-static", "-pthread", "-o", str(binary), source], check=True)
    where.chmod(0o755)
    return binary


def told(stdout: bytes) -> dict[str, int]:
    """What the program says of itself."""
    return {line.split()[0].decode(): int(line.split()[1]) for line in stdout.splitlines()}


def one(case: Case, jail: pyjail.Jail, ratios: bool) -> tuple[float, float, bool]:
    """(true, reported, quiet) of one run; what it burns is five times as much on an emulated machine."""
    args = [*case.args[:2], *(str(int(ms) * (5 if ratios else 1)) for ms in case.args[2:])]
    result = pyjail.run(["/opt/program", *args], LIMITS, jail=jail)
    assert result.ok, result
    truth, usage = told(result.stdout), result.usage
    if case.group == "cpu":
        return truth["cpu"] / 1e6, (usage.cpu_time or 0) * 1e3, True
    if case.group == "wall":
        return truth["wall"] / 1e6, (usage.wall_time or 0) * 1e3, usage.quiet is not False
    if case.group == "memory":
        return truth["bytes"] / MIB, (usage.memory_peak or 0) / MIB, True
    return float(case.exact or 0), float(usage.processes_peak or 0), True


def bound(group: str, true: float, ratios: bool) -> float:
    """By how much a number may be off."""
    if group == "memory":
        return max(1.0, 0.01 * true)
    if group == "processes":
        return 0.0
    if ratios:
        return max(0.05 * true, 100.0)
    return max(2.0, 0.01 * true) if group == "cpu" else 1.0


def measure(case: Case, jail: pyjail.Jail, times: int, ratios: bool) -> Row:
    """The run that is off most. Of wall times the median one, of quiet runs while there are any: on a busy machine a
    program waits for its first and its reaper for its last moment on a CPU, and both are wall time."""
    runs = [one(case, jail, ratios) for _ in range(times)]
    if case.group == "wall":
        while sum(quiet for *_, quiet in runs) < times and len(runs) < 3 * times:
            runs.append(one(case, jail, ratios))
    counted = sorted((run for run in runs if run[2]), key=_off) or sorted(runs, key=_off)
    middle = case.group == "wall" or (
        ratios and case.group == "cpu"
    )  # an emulator is stopped in the middle of anything
    true, reported, _ = counted[len(counted) // 2 if middle else -1]
    note = f"median; worst {_off(counted[-1]):.3f}" if middle else ""
    if case.group == "wall":
        noisy = sum(not quiet for *_, quiet in runs)
        note += f", {noisy} of {len(runs)} runs were noisy"
    fine = abs(reported - true) <= bound(case.group, true, ratios)
    return Row(case.group, case.name, true, reported, reported - true, fine, note)


def _off(run: tuple[float, float, bool]) -> float:
    return abs(run[1] - run[0])


def spread(values: list[float]) -> float:
    """From the first to the last tenth, as a share of the median."""
    ordered = sorted(values)
    tenth = len(ordered) // 10
    return (ordered[-1 - tenth] - ordered[tenth]) / statistics.median(ordered)


def repeatability(program: Path, jail: pyjail.Jail, times: int, ratios: bool) -> list[Row]:
    """The same work ``times`` times, in turns in a jail and bare."""
    args = ("work", "150")
    bare, jailed = [], []
    for _ in range(times):
        process = subprocess.Popen([program, *args], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        bare.append(used.ru_utime + used.ru_stime)
        result = pyjail.run(["/opt/program", *args], LIMITS, jail=jail)
        jailed.append(result.usage.cpu_time or 0.0)
    ours, theirs = spread(jailed), spread(bare)
    name = f"{times} runs of {statistics.median(bare) * 1e3:.0f} ms: spread of CPU, in %"
    fine = ours <= max((2 if ratios else 1.5) * theirs, theirs + 0.02)
    note = f"true: bare getrusage; medians {statistics.median(jailed) / statistics.median(bare):.3f}"
    return [Row("repeatability", name, theirs * 100, ours * 100, (ours - theirs) * 100, fine, note)]


def table(rows: list[Row], place: str) -> Iterator[str]:
    """Markdown."""
    units = {"cpu": "ms", "wall": "ms", "memory": "MiB", "processes": "", "repeatability": "%"}
    yield f"## {place}"
    yield ""
    emulated = " What burns or sleeps does so five times as long." if "emulated" in place else ""
    yield f"Kernel {os.uname().release}, {os.cpu_count()} CPUs.{emulated} Of each program the run that was off most; of times that a machine can hold up the median one."
    yield ""
    yield "| what | program | true | reported | off | ratio | |"
    yield "|---|---|---|---|---|---|---|"
    for r in rows:
        unit = units[r.group]
        ratio = f"{r.reported / r.true:.4f}" if r.true > 1 else ""
        note = f"{'PASS' if r.fine else 'FAIL'}{f' ({r.note})' if r.note else ''}"
        yield f"| {r.group} | {r.name} | {r.true:.3f} {unit} | {r.reported:.3f} {unit} | {r.off:+.3f} | {ratio} | {note} |"
    yield ""


def write(path: Path, place: str, text: str) -> None:
    """Replace the section of this kind of machine, or add it."""
    old = path.read_text() if path.exists() else f"# Accuracy\n\n{INTRODUCTION}\n"
    section = re.compile(rf"^## {re.escape(place)}\n.*?(?=^## |\Z)", re.S | re.M)
    new = section.sub(lambda _: text + "\n", old) if section.search(old) else f"{old.rstrip()}\n\n{text}\n"
    path.write_text(new.rstrip() + "\n")


INTRODUCTION = """`benchmarks/accuracy.py` writes this: programs that know what they used (their own CPU clocks, the bytes that they touched),
against what pyjail reports. Goals: CPU within 1 % or 2 ms, peak memory within 1 MiB or 1 %, wall within 1 ms, processes
exact, spread not worse than bare getrusage's. docs/accuracy.md says what is behind the differences."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--ratios", action="store_true", help="an emulated machine: only ratios mean something")
    parser.add_argument("--output", type=Path, default=HERE / "ACCURACY.md")
    options = parser.parse_args()
    unified = "memory" in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split() if (
        Path("/sys/fs/cgroup/cgroup.controllers").exists()) else False  # fmt: skip
    place = f"{'cgroup v2 only' if unified else 'hybrid cgroups'}{', emulated' if options.ratios else ''}"
    times = 3 if options.quick else 15
    with tempfile.TemporaryDirectory() as made:
        program = compile_program(Path(made))
        jail = pyjail.Jail(mounts=(pyjail.Mount.bind(program, "/opt/program"),))
        rows = [measure(case, jail, times, options.ratios) for case in CASES]
        rows += repeatability(program, jail, 10 if options.quick else 50, options.ratios)
    text = "\n".join(table(rows, place))
    print(text)
    if not options.ratios:
        write(options.output, place, text)
    failed = [f"{r.group}: {r.name}" for r in rows if not r.fine]
    print(f"{len(rows) - len(failed)} of {len(rows)} PASS" + "".join(f"\nFAIL {name}" for name in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
