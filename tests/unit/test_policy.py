"""Policies without a kernel: what is refused, who comes first, what lint finds, what a configuration file says."""

from __future__ import annotations

import errno
import pickle
import warnings

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pyjail
from pyjail import Jail, Limits, Mount, PolicyWarning, SeccompPolicy, SeccompRule, SpecError, lint
from pyjail import _toml as toml
from pyjail.policy import bpf, filters, learned, profiles, seccomp
from pyjail.policy import lint as lint_module
from tests.simulate import simulate

MACHINE = "x86_64"
ARCH = bpf.AUDIT_ARCH[MACHINE]


def act(policy, name, *args, inet=True):
    f = seccomp.compile_policy(policy, MACHINE, inet)
    found = seccomp.describe(simulate(f.program, ARCH, seccomp.number(MACHINE, name), args)[0])
    return "allow" if found == "kill" and f.ipc_told and name in seccomp.IPC_MAKERS else found


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


NAMES = ("socket", "ioctl", "ptrace", "clone", "personality", "mmap", "recvmsg", "openat", "fork", "read", "mq_open")
NUMBERS = st.sampled_from([0, 1, 2, 3, 5, 0x22, 0x5412, 0x40000, 0x10000000, (1 << 32) - 1, 1 << 40, (1 << 64) - 1])
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


@settings(deadline=None)
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


@settings(deadline=None)
@given(policies())
def test_policies_are_hashable_picklable_and_survive_a_configuration_file(tmp_path_factory, policy):
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert hash(pickle.loads(pickle.dumps(policy))) == hash(policy)
    assert eval(repr(policy), {"SeccompPolicy": SeccompPolicy, "SeccompRule": SeccompRule}) == policy
    path = tmp_path_factory.getbasetemp() / "policy.toml"
    jail = Jail(
        seccomp=policy,
        hostname="other",
        mounts=(Mount.bind("/usr", "/u", ro=False), Mount.tmpfs("/t", 4096)),
        env={"A": 'ä"b\x7f\n'},
    )
    path.write_text(toml.dump(jail))
    assert Jail.from_toml(path) == jail


# ---- what lint finds ----


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


# ---- what is learned ----


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


@settings(deadline=None)
@given(calls())
def test_under_the_learned_policy_the_same_calls_have_the_same_outcome(made):
    found, _ = seccomp.rules("default")
    policy = learned.smallest([call for _, _, call in made], found, MACHINE, filters.Reach(inet=True, disk=False))
    assert policy.base == "strict"
    for name, args, call in made:
        assert act(policy, name, *args) == call.action
    assert lint(policy) == []  # it allows nothing that the default profile refuses
    for name in ("bpf", "add_key", "mlockall", "userfaultfd"):
        assert act(policy, name) == "kill"


def test_what_has_no_name_is_learned_on_the_default_profile_less_what_was_not_used():
    found, _ = seccomp.rules("default")
    made = [learned.Call("syscall 600", (), "ENOSYS", ()), learned.Call("pipe2", (), "allow", ())]
    policy = learned.smallest(made, found, MACHINE, filters.Reach(inet=True, disk=False))
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
    policy = learned.smallest(made, found, MACHINE, filters.Reach(inet=True, disk=False))
    assert (act(policy, "prctl", 35), act(policy, "prctl", 22)) == ("allow", "EPERM")
    assert lint(policy) == []


def test_errnos_are_real():
    for name in ("EPERM", "ENOSYS", "EAFNOSUPPORT"):
        assert act(SeccompPolicy(refuse=("fork",), errno=name), "fork") == name
        assert hasattr(errno, name)


def test_strict_refuses_huge_pages():
    assert (act("strict", "mmap", 0, 0, 3, 0x40022), act("strict", "mmap", 0, 0, 3, 0x22)) == ("ENOMEM", "allow")


def test_learning_needs_a_filter():
    for policy in ("none", SeccompPolicy(base="none", kill=("fork",))):
        with pytest.raises(SpecError) as e:
            pyjail.learn(["true"], Limits(), jail=Jail(seccomp=policy))
        assert e.value.field == "jail.seccomp"


def test_every_errno_name_of_the_platform_can_be_an_action():
    for name in ("EOPNOTSUPP", "ENOTSUP", "EWOULDBLOCK", "EAGAIN", "EPERM"):
        rule = SeccompRule("socket", name)
        assert rule.action == name
