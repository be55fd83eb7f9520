"""What `lint` finds: a warning for every way that a policy opens, none for one that it does not."""

from __future__ import annotations

import pickle
import warnings

import pytest

from pyjail import PolicyWarning, SeccompPolicy, SpecError, lint
from pyjail import SeccompRule as R
from pyjail._policy import lint as lint_module
from pyjail._policy import profiles, seccomp


def test_profiles_have_nothing_to_warn_of():
    assert lint("default") == lint("strict") == []
    assert lint(SeccompPolicy(refuse=("fork",), kill=("ptrace",), allow=("read",))) == []


def test_every_call_that_the_default_profile_refuses_warns_when_it_is_allowed():
    refused = {n for names in (*profiles.REFUSED, *profiles.NOOP) for n in names.split()} | set(profiles.MISSING)
    refused |= {r.name for r in profiles.ARGUMENTS if r.action != "allow"}
    for name in refused:
        for base in ("default", "strict"):
            found = lint(SeccompPolicy(base=base, allow=(name,)))
            assert {w.call for w in found} == {name}, name
            assert all(w.why for w in found)


def test_every_reason_of_the_tables_has_an_example_that_meets_it():
    found, default = seccomp.rules("default")
    met = set()
    for escape in lint_module.ESCAPES:
        decision = seccomp.decide(found, default, escape.call, [escape.args.get(i, 0) for i in range(6)])
        assert decision.action != "allow", escape
        met.add((decision.name, decision.why))
    assert met >= {(r.name, r.why) for r in found if r.action != "allow" and r.why != profiles.UNTRACED}


@pytest.mark.parametrize(
    ("rule", "means"),
    [
        (R("clone", "allow", ((0, 0x11, 0xFF),)), "CLONE_NEWUSER"), (R("clone", "allow", ((0, 0x10000011),)), "arg0"),
        (R("socket", "allow", ((0, 40),)), "AF_VSOCK"), (R("socket", "allow", ((0, 21),)), "arg0"), (R("socket", "allow", ((0, 2),)), "raw IP"),
        (R("ioctl", "allow", ((1, 0x5412),)), "TIOCSTI"), (R("ioctl", "allow", ((1, 0x12, 0xFF),)), "TIOCSTI"), (R("ioctl", "allow"), "TIOCLINUX"),
        (R("personality", "allow", ((0, 0x400000, 0x400000),)), "READ_IMPLIES_EXEC"), (R("bpf", "allow", ((0, 5),)), "arg0"),
    ],
)  # fmt: skip
def test_rules_by_argument_warn_of_what_they_let_through(rule, means):
    found = lint(SeccompPolicy(rules=(rule,)))
    assert [w.call for w in found][:1] == [rule.name]
    assert any(means in w.means for w in found)


@pytest.mark.parametrize(
    "rule",
    [
        R("clone", "allow", ((0, 0, 0x7E020080),)), R("socket", "allow", ((0, 1),)), R("socket", "allow", ((0, 2), (1, 1), (2, 6))),
        R("ioctl", "allow", ((1, 0x5401),)), R("socket", "EPERM", ((0, 40),)), R("personality", "allow", ((0, 0),)),
    ],
)  # fmt: skip
def test_rules_that_let_nothing_dangerous_through_do_not_warn(rule):
    assert lint(SeccompPolicy(base="strict", rules=(rule,))) == []


def test_an_earlier_rule_that_closes_the_way_is_seen():
    closed = (
        R("fcntl", "EPERM", ((1, 1024),)),
        R("fcntl", "EPERM", ((1, 1026),)),
        R("fcntl", "EPERM", ((1, 1036, ~2 & 0xFFFFFFFF),)),
    )
    assert lint(SeccompPolicy(rules=(*closed, R("fcntl", "allow")))) == []
    assert lint(SeccompPolicy(rules=(*closed[:2], R("fcntl", "allow")))) != []


def test_no_filter_and_base_none_warn():
    assert [w.call for w in lint("none")] == [w.call for w in lint(SeccompPolicy(base="none"))] == ["*"]
    for nonsense in ("off", None, 5):
        with pytest.raises(SpecError):
            lint(nonsense)


def test_a_warning_can_be_pickled_and_says_what_and_why():
    (warning,) = lint(SeccompPolicy(allow=("keyctl",)))
    copy = pickle.loads(pickle.dumps(warning))
    assert (copy.call, copy.means, copy.why) == (warning.call, warning.means, warning.why)
    assert "CVE-2016-0728" in str(warning)
    assert isinstance(warning, UserWarning)


def test_a_policy_is_warned_of_once_in_the_name_of_its_user():
    policy = SeccompPolicy(allow=("kcmp",), refuse=("fork",))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        lint_module.warn(policy)
        lint_module.warn(policy)
    assert [(w.category, w.filename) for w in seen] == [(PolicyWarning, __file__)]
