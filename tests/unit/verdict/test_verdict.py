"""Precedence, row by row: each verdict wins over all that come after it."""

from __future__ import annotations

import re
import signal

import pytest

from pyjail import KeeperError, Limits, Verdict
from pyjail._plan.report import Facts
from pyjail._verdict import verdict as verdict_module
from pyjail._verdict.verdict import (
    Evidence,
    decide,
    evidence,
    exit_of,
)

ROWS = {
    Verdict.JAIL_ERROR: {"exit_code": None, "signal": None},
    Verdict.SECURITY: {"trip": "security"},
    Verdict.MEMORY: {"oom_kills": 1},
    Verdict.CPU_TIME: {"cpu_time": 2.0, "cpu_limit": 2.0},
    Verdict.WALL_TIME: {"wall_time": 3.1, "wall_limit": 3.0},
    Verdict.OUTPUT: {"written": 11, "output_limit": 10},
    Verdict.SIGNALED: {"signal": 9, "exit_code": None},
    Verdict.RUNTIME_ERROR: {"exit_code": 1},
    Verdict.OK: {},
}


@pytest.mark.parametrize(("memory", "swapped", "own"), [(250, None, 1), (9, None, 0), (9, 256, 1), (9, 90, 0)])
def test_who_pages_out_and_meets_the_limit_of_memory_and_swap_has_met_his_own(memory, swapped, own):
    class Texts:
        def value(self, name, key):
            return 1 if name == "memory.oom_control" else None

        def number(self, name):
            return {
                "memory.max_usage_in_bytes": memory << 20,
                "memory.memsw.max_usage_in_bytes": swapped and swapped << 20,
            }[name]

    assert verdict_module.oom_kills(Texts(), 250 << 20) == (own, 1 - own)


def test_the_rows_are_those_of_the_documentation():
    told = re.findall(r"[A-Z_]{2,}", Verdict.__doc__)
    assert list(dict.fromkeys(word for word in told if word in Verdict.__members__)) == [v.name for v in ROWS]
    assert set(ROWS) == set(Verdict)


@pytest.mark.parametrize("verdict", ROWS)
def test_each_row_alone(verdict):
    assert decide(Evidence(**{"exit_code": 0, **ROWS[verdict]})) is verdict


@pytest.mark.parametrize("verdict", [v for v in ROWS if v not in (Verdict.JAIL_ERROR, Verdict.SIGNALED)])
def test_each_row_wins_over_all_later_ones(verdict):
    fields = {"exit_code": 0}
    for later in reversed(list(ROWS)[list(ROWS).index(verdict) :]):
        fields |= ROWS[later]
    if verdict is not Verdict.RUNTIME_ERROR and verdict is not Verdict.OK:
        fields |= {"signal": 9, "exit_code": None}
    assert decide(Evidence(**fields)) is verdict


@pytest.mark.parametrize(
    ("trip", "verdict"),
    [
        ("cpu", Verdict.CPU_TIME),
        ("wall", Verdict.WALL_TIME),
        ("output", Verdict.OUTPUT),
        ("memory", Verdict.MEMORY),
        ("security", Verdict.SECURITY),
        ("caller", Verdict.SIGNALED),
    ],
)
def test_the_keepers_own_note_is_evidence(trip, verdict):
    assert decide(Evidence(trip=trip, signal=9)) is verdict


def test_numbers_at_and_below_a_limit():
    assert (
        decide(
            Evidence(
                exit_code=0, cpu_time=1.999, cpu_limit=2.0, wall_time=2.9, wall_limit=3.0, written=10, output_limit=10
            )
        )
        is Verdict.OK
    )
    assert decide(Evidence(exit_code=0, starved=True)) is Verdict.MEMORY
    assert decide(Evidence(exit_code=137)) is Verdict.RUNTIME_ERROR


def test_a_process_that_died_before_execve_is_explained_or_an_error():
    assert decide(Evidence(executed=False, signal=9)) is Verdict.JAIL_ERROR
    assert decide(Evidence(executed=False, signal=9, oom_kills=1)) is Verdict.MEMORY
    assert decide(Evidence(executed=False, signal=9, trip="wall")) is Verdict.WALL_TIME
    assert decide(Evidence(executed=False, exit_code=127, starved=True)) is Verdict.MEMORY


def test_wait_statuses():
    assert exit_of(0) == (0, None)
    assert exit_of(255 << 8) == (255, None)
    assert exit_of(9) == (None, 9)
    assert exit_of(0x8B) == (None, 11)
    assert exit_of(None) == (None, 9)


@pytest.mark.parametrize(
    ("clock", "used", "number", "verdict"),
    [
        (None, 0.8, signal.SIGXCPU, Verdict.CPU_TIME),  # ticks charged it with more than it had used
        (None, 0.0, signal.SIGXCPU, Verdict.SIGNALED),  # it sent that to itself
        (None, 0.8, signal.SIGTERM, Verdict.SIGNALED),
        (800_000_000, 0.8, signal.SIGXCPU, Verdict.SIGNALED),  # where there is a clock, no rlimit is set
    ],
)
def test_the_signal_of_the_cpu_rlimit_is_evidence_only_where_it_is_the_clock(clock, used, number, verdict):
    facts = Facts()
    facts.executed, facts.status, facts.cpu = True, int(number), clock
    facts._more = (0, int(used * 1e6), *(0,) * 35)  # struct rusage begins with the user's s, us
    assert decide(evidence(facts, Limits(cpu_time=1))) is verdict


@pytest.mark.parametrize("blank", ["\x1c", "\x1e", "\n", " "])
def test_a_number_among_blanks_is_read_whatever_they_are(blank):
    assert verdict_module.number_in(f"{blank}182{blank}") == 182


def test_more_digits_than_64_bits_have_are_a_damaged_report():
    with pytest.raises(KeeperError, match="for a number"):
        verdict_module.number_in("1" * 5000)
    assert verdict_module.number_in(str(2**64 - 1)) == 2**64 - 1
