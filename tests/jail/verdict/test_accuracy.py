"""The numbers of `Usage` against programs that know what they used. Bounds are generous: benchmarks/accuracy.py is strict."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Limits
from tests import place
from tests.conftest import SLOW
from tests.inside import cpus
from tests.scripts import PRELUDE

ROOT = Path(__file__).resolve().parents[3]
SOURCE = (ROOT / "benchmarks/accuracy_program.c").read_text()
LIMITS = Limits(
    cpu_time=60 * SLOW, wall_time=100 * SLOW, memory="256M", stack="64M", disk="64M", file_size="64M", cpus=None, processes=64
)  # fmt: skip
MIB = 1 << 20


@pytest.fixture
def told(cc):
    """Run the program: (what it says of itself, usage)."""
    binary = cc(SOURCE, "-static")

    def run(*args: str, jail: Jail | None = None):
        result = pyjail.run(["./a", *args], LIMITS, files={"a": binary}, jail=jail)
        assert result.ok, result
        return {k: int(v) for k, v in (line.split() for line in result.stdout.decode().splitlines())}, result.usage

    return run


BURNS = [
    ("burn", "0", "60"),
    ("threads", "3", "30"),
    ("processes", "4", "20"),
    ("orphans", "4", "20"),
    ("short", "100"),
]


@pytest.mark.needs_cgroups
@pytest.mark.parametrize("args", BURNS, ids=lambda a: a[0])
def test_cpu_time_of_all_that_burned(told, args):
    truth, usage = told(*args)
    assert usage.cpu_time >= truth["cpu"] / 1e9 * 0.99
    assert usage.cpu_time <= truth["cpu"] / 1e9 * 1.05 + 0.02 * SLOW


@pytest.mark.needs_cgroups
@pytest.mark.parametrize("what", ["heap", "stack", "tmpfs", "shared", "mapped", "nothing"])
def test_peaks_of_memory(told, what):
    for _ in range(3):  # in a leaf that served a run before, too
        truth, usage = told(what, "16")
        used = truth["bytes"] if what != "nothing" else 0
        assert usage.memory_peak >= used
        assert usage.memory_peak <= used + 3 * MIB + 2 * 64 * 4096 * len(cpus())


@pytest.mark.needs_cgroups
def test_what_a_leaf_had_before_is_told(told):
    fresh = told("nothing", jail=Jail(fresh=True))[1]
    assert fresh.memory_before == 0
    for _ in range(6):
        usage = told("nothing")[1]
        assert 0 <= usage.memory_before <= 3 * 64 * 4096


@pytest.mark.parametrize(
    ("args", "peak"), [(("nothing",), 1), (("alive", "7"), 8), (("alive-threads", "9"), 10), (("short", "50"), 2)]
)
def test_processes_are_exact(told, args, peak):
    usage = told(*args)[1]
    if usage.processes_peak is None:
        pytest.skip(place.WITHOUT_CGROUPS if not place.CGROUPS else f"{place.ELSEWHERE}: no pids.peak here")
    assert usage.processes_peak == peak


def test_wall_time_is_not_less_than_the_programs_own(told):
    truth, usage = told("sleep", "0", "50")
    assert truth["wall"] / 1e9 <= usage.wall_time <= truth["wall"] / 1e9 + 5 * SLOW


@pytest.mark.parametrize("page", ["accuracy.md", "builds.md"])
def test_the_snippets_of_the_pages_run(page):
    text = (ROOT / "docs" / page).read_text()
    snippets = re.findall(r"```python\n(.*?)```", text, re.S)
    assert snippets
    for code in snippets:
        out = subprocess.run(
            [sys.executable, "-c", PRELUDE + code],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=100 * SLOW,
        )
        assert (out.returncode, out.stderr) == (0, ""), code
