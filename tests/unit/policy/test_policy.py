"""Policies without a kernel: what is refused, who comes first, what a configuration file says."""

from __future__ import annotations

import errno
import pickle

import pytest

from pyjail import Jail, Mount, SeccompPolicy, SeccompRule, SpecError
from pyjail._policy import profiles, seccomp
from pyjail._spec import config_file as toml
from tests.examples import assume, given, st
from tests.simulate import simulate
from tests.unit.policy.filtered import ARCH, MACHINE, NAMES, NUMBERS, act

# ---- what is refused before anything starts ----

BAD_RULES = [
    ({"name": 5, "action": "allow"}, "rules.name"), ({"name": "no-name", "action": "allow"}, "rules.name"),
    ({"name": "read", "action": "EWHAT"}, "rules.action"), ({"name": "read", "action": "log"}, "rules.action"),
    ({"name": "read", "action": ["allow"]}, "rules.action"), ({"name": "read", "action": "allow", "tests": "01"}, "rules.tests"),
    ({"name": "read", "action": "allow", "tests": ((6, 1),)}, "rules.tests"), ({"name": "read", "action": "allow", "tests": ((-1, 1),)}, "rules.tests"),
    ({"name": "read", "action": "allow", "tests": ((0,),)}, "rules.tests"), ({"name": "read", "action": "allow", "tests": ((0, 1, 1, 1),)}, "rules.tests"),
    ({"name": "read", "action": "allow", "tests": ((0, True),)}, "rules.tests"), ({"name": "read", "action": "allow", "tests": ((0, "1"),)}, "rules.tests"),
    ({"name": "read", "action": "allow", "tests": ((0, -1),)}, "rules.tests"), ({"name": "read", "action": "allow", "tests": ((0, 1 << 32),)}, "rules.tests"),
    ({"name": "read", "action": "allow", "tests": ((0, 1 << 64, (1 << 64) - 1),)}, "rules.tests"), ({"name": "read", "action": "allow", "tests": ((0, 0, 0),)}, "rules.tests"),
    ({"name": "read", "action": "allow", "tests": ((0, 4, 3),)}, "rules.tests"), ({"name": "read", "action": "allow", "tests": ((0, 1), (0, 2))}, "rules.tests"),
    ({"name": "read", "action": "allow", "tests": tuple((0, 0, 1 << i) for i in range(13))}, "rules.tests"),
]  # fmt: skip


@pytest.mark.parametrize(("given_", "field"), BAD_RULES)
def test_rules_that_make_no_sense_are_refused(given_, field):
    with pytest.raises(SpecError) as e:
        SeccompRule(**given_)
    assert e.value.field == field


R = SeccompRule
BAD_POLICIES = [
    ({"base": "off"}, "base"), ({"base": None}, "base"), ({"errno": "EWHAT"}, "errno"), ({"errno": 1}, "errno"), ({"errno": ["EPERM"]}, "errno"),
    ({"allow": "open"}, "allow"), ({"refuse": [5]}, "refuse"), ({"kill": ("a b",)}, "kill"), ({"allow": ("read",), "kill": ("read",)}, "kill"),
    ({"refuse": ("fork", "fork")}, "refuse"), ({"rules": R("read", "allow")}, "rules"), ({"rules": ("read",)}, "rules"),
    ({"rules": (R("fork", "kill"),), "allow": ("fork",)}, "rules"),
    ({"rules": (R("socket", "kill", ((0, 1),)), R("socket", "allow", ((0, 1),)))}, "rules"),
    ({"rules": (R("socket", "kill", ((0, 1),)), R("socket", "allow", ((0, 1), (1, 2))))}, "rules"),
    ({"rules": (R("socket", "kill"), R("socket", "allow", ((0, 1),)))}, "rules"),
]  # fmt: skip


@pytest.mark.parametrize(("given_", "field"), BAD_POLICIES)
def test_policies_that_contradict_themselves_are_refused(given_, field):
    with pytest.raises(SpecError) as e:
        SeccompPolicy(**given_)
    assert e.value.field == field


@pytest.mark.parametrize("field", ["allow", "refuse", "kill", "rules"])
def test_a_name_that_is_no_call_is_refused_with_the_nearest_right_one(field):
    policy = SeccompPolicy(**{field: (R("sockett", "kill"),) if field == "rules" else ("sockett",)})
    with pytest.raises(SpecError, match="did you mean 'socket'") as e:
        seccomp.compile_policy(policy, MACHINE)
    assert (e.value.field, e.value.value) == (field, "sockett")


OF_THE_JAIL = [
    SeccompPolicy(kill=("execve",)), SeccompPolicy(refuse=("mmap",)), SeccompPolicy(base="none", kill=("openat",)),
    SeccompPolicy(rules=(R("execve", "EPERM", ((0, 5),)),)), SeccompPolicy(rules=(R("openat", "kill", ((1, 0),)),)),
    SeccompPolicy(rules=(R("mmap", "EPERM", ((2, 2, 2),)),)), SeccompPolicy(rules=(R("prlimit64", "kill", ((1, 7),)),)),
    SeccompPolicy(rules=(R("recvmsg", "kill", ((0, 3),)),)), SeccompPolicy(rules=(R("close", "ENOSYS"),)),
    SeccompPolicy(rules=(R("openat", "kill", ((0, 0xFFFFFF9C),)),)),
]  # fmt: skip


@pytest.mark.parametrize("policy", OF_THE_JAIL)
def test_what_the_jail_does_itself_cannot_be_refused(policy):
    with pytest.raises(SpecError, match="the jail itself makes this call"):
        seccomp.compile_policy(policy, MACHINE)


def test_a_call_of_the_jail_can_be_refused_with_arguments_that_the_jail_does_not_use():
    for base in ("default", "strict", "none"):
        policy = SeccompPolicy(
            base=base,
            kill=("recvmsg",),
            rules=(
                R("mmap", "EACCES", ((2, 4, 4),)),
                R("openat", "EROFS", ((2, 0o100, 0o100),)),
                R("dup3", "kill", ((2, 0x80000),)),
            ),
        )
        assert act(policy, "mmap", 0, 4096, 4, 0x22) == "EACCES"
        assert act(policy, "openat", 0, 0, 0o101) == "EROFS"
        assert act(policy, "dup3", 5, 6, 0x80000) == "kill"
        assert act(policy, "recvmsg", 4) == "kill"
        for rule in profiles.GLUE:
            args = [profiles.GLUE_ARGUMENTS.get(rule.name, {}).get(i, 0) for i in range(6)]
            assert act(policy, rule.name, *args) == "allow", rule.name


# ---- who comes first ----


def test_an_empty_allow_list_allows_nothing_more():
    """CVE-2025-66479: an empty list was taken as "no restriction"."""
    for base in ("default", "strict"):
        policy = SeccompPolicy(base=base, allow=(), rules=())
        assert seccomp.rules(policy) == seccomp.rules(base)
        assert seccomp.compile_policy(policy, MACHINE).program == seccomp.compile_policy(base, MACHINE).program
    assert act(SeccompPolicy(base="strict"), "socket", 1) == "kill"


def test_rules_come_before_lists_and_lists_before_the_base():
    policy = SeccompPolicy(
        refuse=("socket",),
        errno="ENOSYS",
        rules=(
            R("socket", "kill", ((0, 1), (1, 5))),
            R("socket", "allow", ((0, 1),)),
            R("ioctl", "ENOTTY", ((1, 0x5401),)),
            R("fork", "EAGAIN"),
        ),
    )
    assert [act(policy, "socket", *a) for a in ((1, 5), (1, 2), (2, 1, 0))] == ["kill", "allow", "ENOSYS"]
    assert [act(policy, "ioctl", 0, a) for a in (0x5401, 0x5412, 0x5402)] == ["ENOTTY", "EPERM", "allow"]
    assert (act(policy, "fork"), act(policy, "vfork")) == ("EAGAIN", "allow")


def test_masks_reach_all_64_bits():
    full = (1 << 64) - 1
    policy = SeccompPolicy(
        rules=(R("read", "EFBIG", ((2, 1 << 40, full),)), R("write", "EFBIG", ((2, 1 << 63, 1 << 63),)))
    )
    assert [act(policy, "read", 0, 0, n) for n in (1 << 40, 1 << 40 | 1, 0)] == ["EFBIG", "allow", "allow"]
    assert [act(policy, "write", 0, 0, n) for n in (full, full >> 1)] == ["EFBIG", "allow"]


def test_base_none_allows_what_no_rule_names_but_no_foreign_architecture():
    policy = SeccompPolicy(base="none", kill=("ptrace",))
    assert (act(policy, "ptrace"), act(policy, "bpf")) == ("kill", "allow")
    for unfiltered in (policy, SeccompPolicy(base="none")):
        program = seccomp.compile_policy(unfiltered, MACHINE).program
        assert seccomp.describe(simulate(program, 0x40000003, 26)[0]) == "kill"
        assert seccomp.describe(simulate(program, ARCH, 0)[0]) == "allow"


MASKS = st.sampled_from([1, 3, 0xF, 0x40000, 0xFFFFFFFF, 0xFFFFFFFF << 32, (1 << 64) - 1])
TESTS = st.lists(st.builds(lambda a, v, m: (a, v & m, m), st.integers(0, 3), NUMBERS, MASKS), max_size=3).map(tuple)
ACTIONS = st.sampled_from(["allow", "kill", "EPERM", "ENOSYS", "EAGAIN"])


@st.composite
def policies(draw):
    lists = {"allow": [], "refuse": [], "kill": [], "": []}
    for name in NAMES:
        lists[draw(st.sampled_from(["allow", "refuse", "kill", "", "", ""]))].append(name)
    del lists[""]
    try:
        rules = [R(draw(st.sampled_from(NAMES)), draw(ACTIONS), draw(TESTS)) for _ in range(draw(st.integers(0, 5)))]
        policy = SeccompPolicy(
            draw(st.sampled_from(["default", "strict", "none"])),
            rules=rules,
            errno=draw(st.sampled_from(["EPERM", "ENOSYS"])),
            **lists,
        )
        seccomp.compile_policy(policy, MACHINE)
    except SpecError:
        assume(False)
    return policy


def by_the_book(policy, name, args):
    """The documentation of `SeccompPolicy`, word by word."""
    for rule in policy.rules:
        if rule.name == name and rule.tests and all(args[i] & mask == value for i, value, mask in rule.tests):
            return rule.action
    if name == "recvmsg" and args[0] & 0xFFFFFFFF == 3:
        return "allow"  # the jail's own
    for rule in policy.rules:
        if rule.name == name and not rule.tests:
            return rule.action
    for names, action in ((policy.allow, "allow"), (policy.refuse, policy.errno), (policy.kill, "kill")):
        if name in names:
            return action
    return "allow" if policy.base == "none" else act(policy.base, name, *args)


@given(policies(), st.data())
def test_the_compiled_filter_does_what_the_rules_say(policy, data):
    found, default = seccomp.rules(policy)
    for name in NAMES:
        args = tuple(data.draw(st.tuples(*[NUMBERS] * 6)))
        expected = by_the_book(policy, name, args)
        assert act(policy, name, *args) == expected
        assert seccomp.decide(found, default, name, args).action == expected
        for rule in (r for r in policy.rules if r.name == name):
            args = list(args)
            for i, value, mask in rule.tests:
                args[i] = args[i] & ~mask | value
            assert act(policy, name, *args) == by_the_book(policy, name, args)


@given(policies())
def test_policies_are_hashable_picklable_and_survive_a_configuration_file(tmp_path_factory, policy):
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert hash(pickle.loads(pickle.dumps(policy))) == hash(policy)
    assert eval(repr(policy), {"SeccompPolicy": SeccompPolicy, "SeccompRule": SeccompRule}) == policy
    path = tmp_path_factory.getbasetemp() / "policy.toml"
    jail = Jail(
        seccomp=policy,
        hostname="other",
        mounts=(
            Mount.bind("/usr", "/u", ro=False),
            Mount.tmpfs("/t", 4096),
            Mount.tmpfs("/e", 4096, ro=True),
            Mount.link("/w", "/box"),
        ),
        env={"A": 'ä"b\x7f\n'},
    )
    path.write_text(toml.dump(jail))
    assert Jail.from_toml(path) == jail


# ---- configuration files ----


@pytest.mark.parametrize(
    ("text", "field", "hint"),
    [
        ("[jail.seccomp]\nalow = ['read']", "jail.seccomp.alow", "allow"), ("[jail.seccomp]\nrules = []", "jail.seccomp.rules", "rule"),
        ("[[jail.seccomp.rule]]\nname = 'read'\naktion = 'allow'", "jail.seccomp.rule[1].aktion", "action"), ("[[jail.seccomp.rule]]\nname = 'read'", "jail.seccomp.rule[1].action", "missing"),
        ("[jail.seccomp]\nrule = 5", "jail.seccomp.rule", "tables"), ("[[jail.seccomp.rule]]\nname = 'read'\naction = 'allow'\ntests = [[9, 1]]", "jail.seccomp.rule[1].tests", "0 to 5"),
        ("[jail.seccomp]\nallow = 'read'", "jail.seccomp.allow", "tuple"), ("[jail.seccomp]\nerrno = 1", "jail.seccomp.errno", "EPERM"),
    ],
)  # fmt: skip
def test_mistakes_in_a_configuration_file_are_named(tmp_path, text, field, hint):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(SpecError, match=hint) as e:
        Jail.from_toml(tmp_path / "c.toml")
    assert e.value.field == f"{tmp_path}/c.toml: {field}"


def test_a_policy_from_a_configuration_file(tmp_path):
    (tmp_path / "c.toml").write_text(
        '[jail.seccomp]\nbase = "strict"\nallow = ["pipe2"]\nrefuse = ["fork"]\nerrno = "ENOSYS"\n'
        '[[jail.seccomp.rule]]\nname = "socket"\naction = "allow"\ntests = [[0, 1], [1, 1, 0xF]]\n'
    )
    expected = SeccompPolicy(
        "strict", ("pipe2",), ("fork",), (), (R("socket", "allow", ((0, 1), (1, 1, 0xF))),), "ENOSYS"
    )
    assert Jail.from_toml(tmp_path / "c.toml").seccomp == expected


def test_what_toml_cannot_hold_is_named():
    with pytest.raises(SpecError, match="UTF-8"):
        toml.dump(Jail(mounts=(Mount.bind(b"/a\xff"),)))


def test_errnos_are_real():
    for name in ("EPERM", "ENOSYS", "EAFNOSUPPORT"):
        assert act(SeccompPolicy(refuse=("fork",), errno=name), "fork") == name
        assert hasattr(errno, name)


def test_strict_refuses_huge_pages():
    assert (act("strict", "mmap", 0, 0, 3, 0x40022), act("strict", "mmap", 0, 0, 3, 0x22)) == ("ENOMEM", "allow")


def test_every_errno_name_of_the_platform_can_be_an_action():
    for name in ("EOPNOTSUPP", "ENOTSUP", "EWOULDBLOCK", "EAGAIN", "EPERM"):
        rule = SeccompRule("socket", name)
        assert rule.action == name
