"""The layout of the filter: whatever the rules are, the program says what the first rule that fits says."""

from __future__ import annotations

import itertools
import math
import random
import struct

import pytest

from pyjail._policy import bpf, seccomp
from tests.examples import given, st
from tests.simulate import simulate

ARCHES = ("x86_64", "aarch64")
NUMBERS = [*range(600), 0x3FFFFFFF, 1 << 30, (1 << 30) + 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
HIGH = 0xDEAD << 32


def expected(arch, cases, default, asked, nr, args):
    """By the definition, a rule at a time."""
    if asked != arch or bpf.X32_BIT <= nr < 1 << 31:
        return bpf.NOTIFY
    for tests, action in cases.get(nr, ()):
        if all(args[i] & mask == value for i, value, mask in tests):
            return action
    return default


def values_of(cases):
    """For each argument: what rules name, what is next to it, and the same with garbage in the other bits."""
    found = [{0, 1, 1 << 32, (1 << 64) - 1} for _ in range(6)]
    for i, value, mask in (test for tests, _ in cases for test in tests):
        for v in (value, value ^ 1, value ^ mask, value + 1, value ^ (mask & -mask)):
            found[i] |= {v & (1 << 64) - 1, (v ^ HIGH) & (1 << 64) - 1, (v | ~mask) & (1 << 64) - 1}
    return [sorted(f) if any(t[0] == i for tests, _ in cases for t in tests) else [0] for i, f in enumerate(found)]


def cases_of(policy, machine, inet):
    found, default = seccomp.rules(policy, inet)
    cases = {}
    for rule in found:
        nr = seccomp.number(machine, rule.name)
        if nr >= 0:
            cases.setdefault(nr, []).append((rule.tests, seccomp._action(rule.action)))
    return cases, seccomp._action(default)


@pytest.mark.parametrize("inet", [False, True])
@pytest.mark.parametrize("policy", ["default", "strict"])
@pytest.mark.parametrize("machine", ARCHES)
def test_the_program_says_what_the_rules_say(machine, policy, inet):
    cases, default = cases_of(policy, machine, inet)
    arch = bpf.AUDIT_ARCH[machine]
    program = bpf.assemble(arch, cases, default)
    chance = random.Random(machine)
    foreign = [*bpf.AUDIT_ARCH.values(), 0x40000003, 0x40000028, 0, 0xFFFFFFFF]
    for nr in NUMBERS:
        choice = values_of(cases.get(nr, ()))
        every = 1 + math.prod(map(len, choice)) // 400
        for args in itertools.islice(itertools.product(*choice), chance.randrange(every), None, every):
            asked = expected(arch, cases, default, arch, nr, args)
            assert simulate(program, arch, nr, args)[0] == asked, (nr, args)
        for other in foreign if nr % 16 < 2 else ():
            assert simulate(program, other, nr)[0] == expected(arch, cases, default, other, nr, (0,) * 6)


words = st.sampled_from([0, 1, 2, 3, 4, 0x12, 0xFFFFFFFF, 1 << 32, 3 << 40, (1 << 64) - 1])
tests = st.builds(
    lambda arg, value, mask: (arg, value & mask, mask), st.integers(0, 2), words, words.filter(lambda m: m != 0)
)
actions = st.sampled_from([bpf.ALLOW, bpf.NOTIFY, bpf.ERRNO | 1, bpf.ERRNO | 38])
case = st.lists(st.tuples(st.lists(tests, max_size=3).map(tuple), actions), max_size=8)


@given(st.dictionaries(st.integers(0, 24), case, max_size=12), actions, st.lists(st.tuples(*[words] * 6), max_size=20))
def test_so_does_the_program_of_any_rules(cases, default, calls):
    arch = bpf.AUDIT_ARCH["x86_64"]
    program = bpf.assemble(arch, cases, default)
    for nr in range(27):
        for args in calls:
            assert simulate(program, arch, nr, args)[0] == expected(arch, cases, default, arch, nr, args)


def test_programs_that_jumps_do_not_reach_across():
    """A jump has 8 bits."""
    arch = bpf.AUDIT_ARCH["x86_64"]
    many = {nr: [(((0, nr, 0xFFFF),), bpf.ERRNO | 2), ((), bpf.ALLOW)] for nr in range(0, 600, 2)}
    long = {7: [(((0, i, bpf.LOW32), (1, i, bpf.LOW32)), bpf.ERRNO | 3) for i in range(300)]}
    cases = {**many, **long}
    program = bpf.assemble(arch, cases, bpf.ERRNO | 1)
    assert len(program) // 8 > 1000
    calls = [(a, b, 0, 0, 0, 0) for a in (0, 1, 7, 250, 299, 300, 598) for b in (0, 1, 250, 299)]
    for nr in [*range(0, 603, 7), 598, 599]:
        for args in calls:
            assert simulate(program, arch, nr, args)[0] == expected(arch, cases, bpf.ERRNO | 1, arch, nr, args)


def test_rules_that_hardly_exclude_each_other_are_kept_in_order():
    bits = [(((0, 1 << i, 3 << i), (1, 2 << i, 3 << i)), bpf.ERRNO | i + 1) for i in range(0, 40)]
    cases = {5: bits}
    arch = bpf.AUDIT_ARCH["aarch64"]
    program = bpf.assemble(arch, cases, bpf.ALLOW)
    assert len(program) // 8 < 400
    for i in range(39):
        args = (0b1011 << i & 0xFFFFFFFFFF, 0b10110 << i & 0xFFFFFFFFFF, 0, 0, 0, 0)
        assert simulate(program, arch, 5, args)[0] == expected(arch, cases, bpf.ALLOW, arch, 5, args)


@pytest.mark.parametrize("machine", ARCHES)
def test_calls_without_argument_rules_are_decided_by_comparisons_alone(machine):
    """What the kernel can follow by itself (seccomp_is_const_allow): such a call does not run the filter at all."""
    cases, default = cases_of("default", machine, False)
    arch = bpf.AUDIT_ARCH[machine]
    code = list(struct.iter_unpack("<HBBI", bpf.assemble(arch, cases, default)))
    for nr in range(500):
        if len(bpf._certain(bpf._halves([*cases.get(nr, ()), ((), default)]))) > 1:
            continue
        word = pc = 0
        while code[pc][0] not in (bpf.RET, bpf.LDX):
            op, jt, jf, k = code[pc]
            pc += 1
            if op == bpf.LD:
                assert k in (bpf.OFF_NR, bpf.OFF_ARCH)
                word = nr if k == bpf.OFF_NR else arch
            else:
                assert op in (bpf.JEQ, bpf.JGE, bpf.JSET, bpf.JA)
                yes = {bpf.JEQ: word == k, bpf.JGE: word >= k, bpf.JSET: bool(word & k), bpf.JA: True}[op]
                pc += k if op == bpf.JA else jt if yes else jf


@pytest.mark.parametrize("foreign", [bpf.NOTIFY, bpf.ERRNO | 38])
def test_calls_of_other_architectures_are_what_is_said_and_never_allowed(foreign):
    arch = bpf.AUDIT_ARCH["x86_64"]
    program = bpf.assemble(arch, {1: [((), bpf.ALLOW)]}, bpf.ALLOW, foreign)
    for other, nr in ((0x40000003, 1), (bpf.AUDIT_ARCH["aarch64"], 1), (arch, bpf.X32_BIT | 1)):
        assert simulate(program, other, nr)[0] == foreign
    assert simulate(program, arch, 1)[0] == bpf.ALLOW


def test_too_many_instructions():
    many = {nr: [(((0, nr, 0xFFFF),), bpf.ERRNO | 2)] for nr in range(0, 3000, 2)}
    with pytest.raises(ValueError, match=r"^\d+$"):
        bpf.assemble(bpf.AUDIT_ARCH["x86_64"], many, bpf.ALLOW)
