"""One run for each verdict and one for each limit, without a compiler: what `./dev test --quick` runs.

All that is around them (who else is counted, what comes first, bounds to the byte) is in the other files.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable

import pytest

import pyjail
import pyjail.testing
from pyjail import Jail, Limits, SeccompPolicy, Verdict
from tests import place
from tests.conftest import SLOW

SPIN = "while :; do :; done"
NO_MKDIR = Jail(seccomp=SeccompPolicy(kill=("mkdir", "mkdirat")))
cgroups = pytest.mark.needs_cgroups


def run(script: str, jail: Jail | None = None, **limits) -> pyjail.Result:
    given = {"cpu_time": 5 * SLOW, "wall_time": 20 * SLOW} | limits
    return pyjail.run(["sh", "-c", script], Limits(**given), jail=jail, collect=["*"])


def killed_keeper() -> pyjail.Result:
    with pyjail.start(["sh", "-c", "echo; exec sleep 100"]) as program:
        program.stdout.readline()  # it has begun
        for keeper in pyjail.testing.busy():
            os.kill(keeper, signal.SIGKILL)
        program.wait()
    return program.result


VERDICTS: dict[Verdict, Callable[[], pyjail.Result]] = {
    Verdict.OK: lambda: run("echo"),
    Verdict.RUNTIME_ERROR: lambda: run("exit 3"),
    Verdict.SIGNALED: lambda: run("kill -SEGV $$"),
    Verdict.CPU_TIME: lambda: run(SPIN, cpu_time=0.2),
    Verdict.WALL_TIME: lambda: run("sleep 100", wall_time=0.2),
    Verdict.MEMORY: lambda: run("head -c 60000000 /dev/zero > /tmp/x", memory="24M"),
    Verdict.OUTPUT: lambda: run("head -c 1001 /dev/zero", output=1000),
    Verdict.SECURITY: lambda: run("mkdir x", jail=NO_MKDIR),
    Verdict.JAIL_ERROR: killed_keeper,
}


def lines(resource: str) -> str:
    return f"sed -n 's/^{resource}  *//p' /proc/self/limits"


def soft(resource: str, **limits) -> bytes:
    return run(lines(resource), **limits).stdout.split()[0]


def hit(name: str, script: str, **limits) -> bool:
    return name in run(script, **limits).limits_hit


def cpus() -> bool:
    one = {min(os.sched_getaffinity(0))}
    seen = run("sed -n 's/Cpus_allowed_list:[[:space:]]*//p' /proc/self/status", cpus=one).stdout
    return seen.decode().strip() == str(*one)


def io_rate() -> bool:
    try:
        return run("true", io_rate="1M").receipt["io_rate"].status == "enforced"
    except pyjail.HostError as e:  # v2 only: refused, not ignored
        return not place.is_v2() and e.control == "io_rate"


def one_is_left_in_the_box(**limits) -> bool:
    result = run("echo 1 > a; echo 2 > b", **limits)
    return len(result.files) == len(result.uncollected) == 1


LIMITS: dict[str, Callable[[], bool]] = {
    "cpu_time": lambda: hit("cpu_time", f"{SPIN} & {SPIN}", cpu_time=0.2),
    "wall_time": lambda: hit("wall_time", "sleep 100", wall_time=0.2),
    "memory": lambda: hit("memory", "head -c 60000000 /dev/zero > /tmp/x", memory="24M"),
    "processes": lambda: hit("processes", "for i in 1 2 3 4 5; do sleep 1 & done", processes=4),
    "output": lambda: len(run("head -c 9999 /dev/zero", output=1000).stdout) == 1000,
    "disk": lambda: hit("disk", "head -c 3000000 /dev/zero > /box/x", disk="1M"),
    "inodes": lambda: hit("inodes", "for i in 1 2 3 4 5 6 7 8 9; do : > $i; done", inodes=5),
    "file_size": lambda: run("exec head -c 9999 /dev/zero > x", file_size=4096).signal == signal.SIGXFSZ,
    "open_files": lambda: soft("Max open files", open_files=33) == b"33",
    "stack": lambda: soft("Max stack size", stack="1M") == b"1048576",
    "core": lambda: soft("Max core file size", core=4096) == b"4096",
    "cpus": cpus,
    "address_space": lambda: soft("Max address space", address_space="1G") == b"1073741824",
    "io_rate": io_rate,
    "collect": lambda: one_is_left_in_the_box(collect=3),
    "collect_files": lambda: one_is_left_in_the_box(collect_files=1),
}
BY_CGROUP = {Verdict.CPU_TIME, Verdict.MEMORY, "cpu_time", "memory", "processes", "io_rate"}


def each(promises: dict) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "promise", [pytest.param(p, id=str(p), marks=[cgroups] if p in BY_CGROUP else []) for p in promises]
    )


def test_there_is_a_run_for_each_verdict_and_each_limit():
    assert set(VERDICTS) == set(Verdict)
    assert set(LIMITS) == {f.name for f in dataclasses.fields(Limits)}


@each(VERDICTS)
def test_every_verdict_is_given(promise):
    result = VERDICTS[promise]()
    assert result.verdict is promise, result


@each(LIMITS)
def test_every_limit_is_kept(promise):
    assert LIMITS[promise]()
