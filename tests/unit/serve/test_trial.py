"""A machine is tried before a service starts: where a limit does not hold, it does not start, and says which."""

from __future__ import annotations

import errno
from dataclasses import replace
from types import SimpleNamespace

import pytest

import pyjail
from pyjail import Finding, HostError, Jail, JailError, Limits, ProgramNotFoundError, Verdict
from pyjail.serve import server, trial
from pyjail.serve.config import MAXIMA, Config

LOOSE = Config(jail=Jail(strict=False))


def ran(hit=(), ok=False, verdict=Verdict.OK, lacking=()):
    rows = SimpleNamespace(not_enforced=[SimpleNamespace(name=name) for name in lacking])
    return SimpleNamespace(limits_hit=frozenset(hit), ok=ok, verdict=verdict, receipt=rows)


@pytest.fixture
def machine(monkeypatch):
    """What runs come to there: those that exceed a limit, by its name; all others by ""."""
    said = {}

    def name_of(shell, limits):
        for name, one in trial._TRIALS.items():
            if shell == one.shell and getattr(limits, name) == getattr(Limits(**one.limits), name):
                return name
        return ""

    def run(args, limits=None, jail=None):
        found = said.get(name_of(args[-1], limits), ran(hit=trial._TRIALS))
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(pyjail, "run", run)
    return said


def test_where_every_limit_holds_nothing_is_said(machine):
    assert trial.of(Config()) == []


@pytest.mark.parametrize("name", sorted(trial._TRIALS))
def test_a_limit_that_a_program_exceeds_unhindered_is_refused_or_told_where_that_was_asked_for(machine, name):
    machine[name] = ran(ok=True)
    with pytest.raises(trial.Refused, match="does not hold here"):
        trial.of(Config())
    assert any(f"limits.{name} does not hold here" in said for said in trial.of(LOOSE))


def test_a_jail_whose_receipt_lacks_a_limit_is_refused(machine):
    machine[""] = ran(ok=True, lacking=["memory"])
    with pytest.raises(trial.Refused, match="runs without memory"):
        trial.of(Config())
    assert trial.of(LOOSE) == ["limits.memory is not enforced here, and jail.strict is false"]


def test_a_limit_that_this_machine_cannot_enforce_is_refused_with_the_fix(machine):
    machine[""] = HostError("memory", "there is no controller", "mount one")
    with pytest.raises(trial.Refused, match=r"\[limits\] memory cannot be enforced here") as e:
        trial.of(Config())
    assert e.value.fix == "mount one"


def test_what_could_not_be_tried_is_refused_or_told(machine):
    machine["disk"] = JailError("no room")
    with pytest.raises(trial.Refused, match=r"limits\.disk could not be tried"):
        trial.of(Config())
    machine["disk"] = ProgramNotFoundError("exec", None, "sh", errno.ENOENT)
    assert any("was not tried: there is no /bin/sh" in said for said in trial.of(Config()))
    machine["disk"] = ran(verdict=Verdict.SECURITY)
    assert any("the filter of the jail ends what would exceed it" in said for said in trial.of(Config()))


def test_what_is_not_limited_is_not_tried(machine):
    machine["memory"] = ran(ok=True)
    without = replace(Config(), limits=Limits(memory=None), maxima=replace(MAXIMA, memory=None))
    assert trial.of(without) == []


def test_where_strict_jails_do_not_run_the_row_that_is_in_the_way_is_told(machine, monkeypatch):
    rows = (Finding("kernel", "yes", ""), Finding("swap", "no", "off", "on"),
            Finding("user namespaces", "no", "they are off", "turn them on"))  # fmt: skip
    monkeypatch.setattr(pyjail, "doctor", lambda: rows)
    machine[""] = JailError("EPERM")
    with pytest.raises(trial.Refused, match="user namespaces: they are off") as e:
        trial.strict()
    assert e.value.fix == "turn them on"


def test_both_are_tried_before_anything_is_served(machine, monkeypatch):
    for broken in ("strict", "of"):
        with monkeypatch.context() as patched:
            patched.setattr(trial, broken, lambda *_: (_ for _ in ()).throw(trial.Refused("no")))
            with pytest.raises(trial.Refused):
                server._tried(Config())
