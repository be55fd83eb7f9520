"""What a pair of jails comes to, and what makes no sense as a check."""

from __future__ import annotations

import math
import struct
import time
from pathlib import Path

import pytest

import pyjail
from pyjail import (
    Limits,
    Result,
    SpecError,
    Verdict,
)
from pyjail.grading import Case, _function, _judge, _pair
from pyjail.grading.inside import encoding
from pyjail.grading.inside.encoding import encode
from pyjail.languages import _machine


def result(verdict=Verdict.OK, **more):
    return Result(["x"], 0, verdict, **more)


@pytest.mark.parametrize(
    ("reports", "candidate", "checker", "expected"),
    [
        ([("end", "passed", "", "")], result(), result(), "passed"),
        ([("end", "passed", "", "")], result(Verdict.MEMORY), result(), "crashed: out of memory, after its last answer"),
        ([("end", "passed", "", "")], result(Verdict.WALL_TIME), result(), "timed out"),
        ([("end", "passed", "", "")], result(), result(Verdict.MEMORY), "broken: the checker passed it, and then: out of memory"),
        ([("end", "failed", "x", "")], result(Verdict.MEMORY), result(), "failed: x"),
        ([("end", "gone", "", "")], result(Verdict.CPU_TIME), result(), "timed out"),
        ([("end", "gone", "", "")], result(exit_code=0), result(), "crashed: it exited with 0, before it had answered"),
        ([("end", "gone", "", "")], result(Verdict.SECURITY, syscall="bpf"), result(), "crashed: the filter ended it for bpf, before it had answered"),
        ([("end", "won", "", "")], result(), result(exit_code=0), "broken: the checker ended without a report: it exited with 0"),
        ([("case", "passed", "", 1)], result(), result(Verdict.MEMORY), "broken: the checker ended without a report: out of memory"),
        ([], result(Verdict.WALL_TIME), result(Verdict.WALL_TIME), "timed out"),
        ([], result(), result(Verdict.CPU_TIME), "timed out: the tests themselves took too long"),
        ([], result(), result(Verdict.SIGNALED, signal=9), "broken: the checker ended without a report: killed by signal 9"),
    ],
)  # fmt: skip
def test_a_check_passes_only_when_all_of_it_says_so(reports, candidate, checker, expected):
    status, detail, _ = _judge.end(_pair.Pair(candidate, checker, tuple(reports)))
    assert _judge.line(status, detail) == expected


def test_no_line_of_a_log_is_of_the_candidate_s_making():
    assert _judge.line("failed", "a\n{'passed': True}\r\x1b[2J\ud800 ä") == (
        "failed: a\\n{'passed': True}\\r\\x1b[2J\\ud800 ä"
    )
    ended = ("end", "failed", "", "\ud800\n")
    assert _judge.end(_pair.Pair(result(), result(), (ended,)))[2] == "\\ud800\n"


def test_cases_beyond_one_job_are_divided():
    cases = [Case(("x" * (1 << 20),), n) for n in range(20)]
    blob, batch = _function._fitting({"kind": "cases"}, cases)
    assert len(blob) <= encoding.MOST_BYTES and batch == cases[:5]


def test_reports_that_are_cut_off_are_left_out():
    one = encode(("case", 1))
    raw = struct.pack(">I", len(one)) + bytes(16) + one
    assert _pair.parse(raw * 2) == (("case", 1),) * 2
    assert _pair.parse(raw + raw[:-1]) == (("case", 1),)
    assert _pair.parse(b"Traceback (most recent call last):\n") == ()
    assert _pair.parse(b"") == ()


PROBLEM = {"task_id": 1, "prompt": "", "entry_point": "f", "test": "assert f() == 1"}


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("problem", lambda: pyjail.grading.check_correctness([], "")),
        ("problem", lambda: pyjail.grading.check_correctness({"prompt": ""}, "")),
        ("entry_point", lambda: pyjail.grading.check_correctness({**PROBLEM, "entry_point": "f()"}, "")),
        ("completion", lambda: pyjail.grading.check_correctness(PROBLEM, None)),
        ("timeout", lambda: pyjail.grading.check_correctness(PROBLEM, "", 0)),
        ("timeout", lambda: pyjail.grading.check_correctness(PROBLEM, "", "soon")),
        ("timeout", lambda: pyjail.grading.check_correctness(PROBLEM, "", None)),
        ("limits", lambda: pyjail.grading.check_correctness(PROBLEM, "", limits={})),
        ("jail", lambda: pyjail.grading.check_correctness(PROBLEM, "", jail="x")),
        ("checker_jail", lambda: pyjail.grading.check_correctness(PROBLEM, "", checker_jail="x")),
        ("python", lambda: pyjail.grading.check_correctness(PROBLEM, "", python=3)),
        ("cases", lambda: pyjail.grading.check_function("", "f", [1])),
        ("cases", lambda: pyjail.grading.check_function("", "f", [((object(),), 1)])),
        ("cases", lambda: pyjail.grading.check_function("", "f", [Case(5)])),
        ("cases", lambda: pyjail.grading.check_function("", "f", [Case((), kwargs=[1])])),
        ("packages", lambda: pyjail.grading.check_function("", "f", [], packages=1)),
        ("tolerance", lambda: pyjail.grading.check_function("", "f", [], tolerance=math.nan)),
        ("source", lambda: pyjail.grading.check_function(None, "f", [])),
        ("modules", lambda: pyjail.grading.run_tests({}, {"t.py": ""}, "solution")),
        ("modules", lambda: pyjail.grading.run_tests({}, {"t.py": ""}, ["a-b"])),
        ("tests", lambda: pyjail.grading.run_tests({}, {"../t.py": ""}, ["a"])),
        ("tests", lambda: pyjail.grading.run_tests({}, {}, ["a"])),
        ("files", lambda: pyjail.grading.run_tests({"a.py": 5}, {"t.py": ""}, ["a"])),
        ("files", lambda: pyjail.grading.run_tests({b"a.py": ""}, {"t.py": ""}, ["a"])),
        ("files", lambda: pyjail.grading.run_tests({"a.py": Path("/no/such")}, {"t.py": ""}, ["a"])),
        ("tests", lambda: pyjail.grading.run_tests({}, {"a.py": ""}, ["a"])),
        ("iterators", lambda: pyjail.grading.check_function("", "f", [], iterators=1)),
        ("isolate", lambda: pyjail.grading.check_function("", "f", [], isolate="no")),
        ("framework", lambda: pyjail.grading.run_tests({}, {"t.py": ""}, ["a"], framework="nose")),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_starts(field, call):
    with pytest.raises(SpecError) as e:
        call()
    assert e.value.field == field


def test_the_candidate_has_the_given_limits_and_no_more_time():
    where = _pair.setting(2, Limits(cpu_time=None, wall_time=1, memory="64M", cpus={0}), None, None, None, None, False)
    got = where.of_candidate()
    assert (got.cpu_time, got.wall_time, got.memory, got.cpus) == (2, 1, 64 << 20, frozenset({0}))
    assert where.of_candidate(4.0).wall_time == 4 and where.of_checker(4.0).wall_time == 4 + _pair.CHECKER_MORE
    half = _pair.setting(2, Limits(wall_time=None, cpus=0.5), None, None, None, None, False)
    assert (half.of_candidate().cpu_time, half.of_candidate().wall_time) == (2, 2 * 3 * 2 + 1)
    theirs = _pair.setting(2, None, None, Limits(wall_time=5), None, None, False)
    assert (theirs.of_checker().wall_time, theirs.of_checker(4.0).wall_time) == (5, 20)


# ---- whose fault it is ----

BUSY = result(Verdict.WALL_TIME, limits=Limits(wall_time=10), usage=pyjail.Usage(wall_time=10))
LATE = result(usage=pyjail.Usage(wall_time=10))
LOST = result(Verdict.JAIL_ERROR, error="the keeper died")


@pytest.mark.parametrize(
    ("candidate", "checker", "free", "blamed"),
    [
        (BUSY, LATE, 3.0, ""),  # it had its three seconds, and waited instead
        (BUSY, LATE, 2.9, "the machine was busy: the candidate had a CPU to run on for 2.9 s of 10.0 s at least"),
        (BUSY, result(usage=pyjail.Usage(wall_time=1)), 9.0, "the machine was busy: the candidate had a CPU"),
        (BUSY, LATE, None, ""),
        (result(Verdict.WALL_TIME, limits=Limits(wall_time=10), usage=pyjail.Usage(quiet=False)), LATE, None, "the machine"),
        (result(Verdict.WALL_TIME, limits=Limits(wall_time=1)), LATE, 0.9, ""),  # the caller's own wall limit
        (result(Verdict.CPU_TIME), LATE, 0.0, ""),
        (result(Verdict.MEMORY), LATE, 0.0, ""),
        (result(), BUSY, 7.9, "the machine was busy: the checker"),
        (result(), BUSY, 8.1, ""),
        (LOST, result(), 9.0, "the candidate's jail failed: the keeper died"),
        (result(), LOST, 9.0, "the checker's jail failed: the keeper died"),
    ],
)  # fmt: skip
def test_what_a_busy_machine_held_up_is_not_the_program_s_fault(candidate, checker, free, blamed):
    why = _pair.held(candidate, checker, 3.0, free)
    assert why.startswith(blamed) and bool(why) == bool(blamed)


def tries(monkeypatch, *pairs):
    """What `check_correctness` comes to when its jails come to these, and how much patience each try had."""
    left, patience = list(pairs), []

    def run(*args, **kw):
        patience.append(kw["patience"])
        return left.pop(0)

    monkeypatch.setattr(_pair, "run", run)
    return pyjail.grading.check_correctness(PROBLEM, ""), patience


def pair(status="gone", candidate=None, held=""):
    return _pair.Pair(candidate or result(), result(), (("end", status, "", ""),), held)


def test_what_was_held_up_is_tried_again_with_more_patience(monkeypatch):
    r, patience = tries(monkeypatch, pair(candidate=BUSY, held="busy"), pair("passed"))
    assert (r.reason, patience) == ("passed", [1, 4])
    r, patience = tries(monkeypatch, pair(candidate=LOST, held="its jail failed"), pair("failed"))
    assert (r.reason, patience) == ("failed", [1, 4])


def test_what_was_held_up_every_time_is_undecided(monkeypatch):
    r, _ = tries(monkeypatch, *[pair(candidate=BUSY, held="busy")] * 2)
    assert (r.reason, r.status, r.passed, r.decided) == ("undecided: busy", "undecided", False, False)
    passed_then_held = pair("passed", candidate=BUSY, held="busy")
    assert not tries(monkeypatch, passed_then_held, passed_then_held)[0].decided


def test_what_the_checker_has_found_stands_however_the_candidate_ended(monkeypatch):
    r, patience = tries(monkeypatch, pair("failed", candidate=BUSY, held="busy"))
    assert (r.reason, patience, r.decided) == ("failed", [1], True)


def test_the_machine_tells_how_much_time_it_had():
    watch = _machine.Watch()
    time.sleep(0.05)
    free = watch.free()
    assert free is None or 0 <= free < 60
