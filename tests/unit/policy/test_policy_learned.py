"""The policy that is learned from calls: they have the same outcome under it, and little else is allowed."""

from __future__ import annotations

import pytest

import pyjail
from pyjail import Jail, Limits, SeccompPolicy, SpecError, lint
from pyjail._policy import learned, seccomp
from pyjail._policy.filter import Reach
from tests.examples import given, st
from tests.simulate import simulate
from tests.unit.policy.filtered import ARCH, MACHINE, NAMES, NUMBERS, act


@st.composite
def calls(draw):
    """Some calls as a program could have made them under the default profile."""
    found, default = seccomp.rules("default")
    made = []
    for name in draw(
        st.lists(
            st.sampled_from([*NAMES, "io_setup", "setsockopt", "prctl", "unshare", "clone3", "wait4", "fcntl"]),
            max_size=8,
        )
    ):
        args = draw(st.tuples(*[NUMBERS] * 6))
        masks = seccomp.deciding(name, [*found, *seccomp.rules("strict")[0]])
        rule = seccomp.decide(found, default, name, args)
        made.append(
            (name, args, learned.Call(name, tuple((i, args[i] & m) for i, m in masks.items()), rule.action, rule.tests))
        )
    return made


@given(calls())
def test_under_the_learned_policy_the_same_calls_have_the_same_outcome(made):
    found, _ = seccomp.rules("default")
    policy = learned.smallest([call for _, _, call in made], found, MACHINE, Reach(inet=True, disk=False))
    assert policy.base == "strict"
    for name, args, call in made:
        assert act(policy, name, *args) == call.action
    assert lint(policy) == []  # it allows nothing that the default profile refuses
    for name in ("bpf", "add_key", "mlockall", "userfaultfd"):
        assert act(policy, name) == "kill"


def test_what_has_no_name_is_learned_on_the_default_profile_less_what_was_not_used():
    found, _ = seccomp.rules("default")
    made = [learned.Call("syscall 600", (), "ENOSYS", ()), learned.Call("pipe2", (), "allow", ())]
    policy = learned.smallest(made, found, MACHINE, Reach(inet=True, disk=False))
    assert policy.base == "default"
    assert (act(policy, "pipe2"), act(policy, "read"), act(policy, "fork"), act(policy, "socketpair")) == (
        "allow",
        "allow",
        "kill",
        "kill",
    )
    assert seccomp.describe(simulate(seccomp.compile_policy(policy, MACHINE).program, ARCH, 600)[0]) == "ENOSYS"


def test_many_values_of_an_argument_are_learned_as_the_rules_that_took_them():
    found, _ = seccomp.rules("default")
    made = [learned.Call("prctl", ((0, n),), "allow", ()) for n in range(30, 60)]
    policy = learned.smallest(made, found, MACHINE, Reach(inet=True, disk=False))
    assert (act(policy, "prctl", 35), act(policy, "prctl", 22)) == ("allow", "EPERM")
    assert lint(policy) == []


def test_learning_needs_a_filter():
    for policy in ("none", SeccompPolicy(base="none", kill=("fork",))):
        with pytest.raises(SpecError) as e:
            pyjail.learn(["true"], Limits(), jail=Jail(seccomp=policy))
        assert e.value.field == "jail.seccomp"
