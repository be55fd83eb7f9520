"""The filter, per (architecture, syscall, arguments), without a kernel."""

from __future__ import annotations

import itertools

import pytest

from pyjail import SeccompPolicy, SpecError
from pyjail._policy import bpf, choice, filter, profiles, seccomp, shipped
from pyjail._policy.filter import Filter
from tests import ship_filters
from tests.examples import given, st
from tests.simulate import simulate

ARCHES = ("x86_64", "aarch64")
I386, X32 = 0x40000003, 0x40000000


def act(policy, machine, name, *args):
    f = seccomp.compile_policy(policy, machine)
    nr = name if isinstance(name, int) else seccomp.number(machine, name)
    assert nr >= 0, name
    found = seccomp.describe(simulate(f.program, bpf.AUDIT_ARCH[machine], nr, args)[0])
    return "allow" if found == "kill" and f.ipc_told and name in seccomp.IPC_MAKERS else found


@pytest.mark.parametrize("machine", ARCHES)
def test_default_profile_allows_every_allowed_name(machine):
    for names in profiles.ALLOWED.values():
        for name in names.split():
            if seccomp.number(machine, name) >= 0:
                assert act("default", machine, name) == "allow", name


@pytest.mark.parametrize("machine", ARCHES)
def test_default_profile_refuses_every_refused_name(machine):
    for names in profiles.REFUSED:
        for name in names.split():
            if seccomp.number(machine, name) >= 0:
                assert act("default", machine, name) == "EPERM", name


def test_no_name_is_in_two_tables():
    allowed = [n for names in profiles.ALLOWED.values() for n in names.split()]
    refused = [n for names in profiles.REFUSED for n in names.split()]
    by_argument = {r.name for r in profiles.ARGUMENTS}
    everything = [*allowed, *refused, *profiles.MISSING, *by_argument]
    assert len(everything) == len(set(everything))


HIGH = 1 << 40  # garbage above what the kernel reads
TABLE = [
    ("clone", (0x3D0F00,), "allow"), ("clone", (0x11,), "allow"), ("clone", (0x10000011,), "EPERM"), ("clone", (0x20000,), "EPERM"),
    ("clone", (0x80,), "EPERM"), ("clone", (0x02000000 | HIGH,), "EPERM"), ("clone3", (), "ENOSYS"), ("socket", (1,), "allow"),
 ("socket", (1 | HIGH,), "allow"), ("socket", (16,), "EAFNOSUPPORT"),
    ("socket", (17,), "EAFNOSUPPORT"), ("socket", (38,), "EAFNOSUPPORT"), ("socket", (40,), "EAFNOSUPPORT"), ("socket", (0,), "EAFNOSUPPORT"),
    ("ioctl", (0, 0x5412), "EPERM"), ("ioctl", (0, 0x5412 | HIGH), "EPERM"), ("ioctl", (0, 0x541C | 0xDEAD << 32), "EPERM"),
    ("ioctl", (0, 0x5401), "allow"), ("personality", (0xFFFFFFFF,), "allow"), ("personality", (0x40000,), "allow"),
    ("personality", (0x400000,), "EPERM"), ("prlimit64", (0,), "allow"), ("prlimit64", (1,), "EPERM"), ("prlimit64", (HIGH,), "allow"),
    ("fcntl", (0, 1024), "EPERM"), ("fcntl", (0, 1026), "EPERM"), ("fcntl", (0, 1024 | HIGH), "EPERM"), ("fcntl", (0, 2), "allow"),
    ("setsockopt", (0, 1, 26), "EPERM"), ("setsockopt", (0, 1 | HIGH, 51), "EPERM"), ("setsockopt", (0, 41, 32), "EPERM"), ("setsockopt", (0, 1, 2), "allow"),
    ("socket", (2, 1, 0), "allow"), ("socket", (2, 0x80801, 6), "allow"), ("socket", (10, 2, 17), "allow"), ("socket", (2, 1, 262), "EAFNOSUPPORT"), ("socket", (2, 3, 1), "EAFNOSUPPORT"), ("socket", (2, 5, 132), "EAFNOSUPPORT"),
    *(("setsockopt", (0, 0, option), "EPERM") for option in (35, 39, 42, 46)),
    *(("setsockopt", (0, 41, option), "EPERM") for option in (20, 42, 46 | HIGH)),
    *(("setsockopt", (0, 0, option), "allow") for option in (1, 2, 10, 32, 33, 34, 36, 43, 48, 49)),
    *(("setsockopt", (0, 41, option), "allow") for option in (16, 17, 18, 19, 21, 26, 28, 49, 67)),
    *(("setsockopt", (0, 6, option), "EPERM") for option in (14, 31, 32, 38, 39, 40)),
    ("setsockopt", (0, 6, 1), "allow"), ("setsockopt", (0, 1, 35), "allow"), ("setsockopt", (0, 17, 20), "allow"),
    *(("madvise", (0, 0, advice), "EINVAL") for advice in (12, 25, 12 | HIGH)),
    *(("madvise", (0, 0, advice), "allow") for advice in (0, 1, 4, 8, 13, 14, 21, 24, 102)),
    ("prctl", (0x53564D41, 0), "EINVAL"), ("prctl", (62, 1), "EINVAL"), ("prctl", (62 | HIGH, 0), "EINVAL"),
    ("prctl", (22, 2), "EPERM"), ("prctl", (15,), "allow"), ("mmap", (0, 0, 0, 0x22), "allow"), ("mmap", (0, 0, 0, 0x40022), "ENOMEM"), ("memfd_create", (0, 4), "ENOMEM"), ("shmget", (0, 0, 0o4600), "ENOMEM"),
    (600, (), "ENOSYS"), (0xFFFFFFFF, (), "ENOSYS"), (9999, (), "ENOSYS"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "expected"), TABLE)
def test_arguments_decide(name, args, expected):
    for machine in ARCHES:
        assert act("default", machine, name, *args) == expected


def test_foreign_architectures_and_x32_end_the_run():
    for policy in ("default", "strict"):
        program = seccomp.compile_policy(policy, "x86_64").program
        for arch, nr in (
            (I386, 1),
            (0xC00000B7, 1),
            (0, 0),
            (bpf.AUDIT_ARCH["x86_64"], X32 | 1),
            (bpf.AUDIT_ARCH["x86_64"], 0x7FFFFFFF),
        ):
            assert seccomp.describe(simulate(program, arch, nr)[0]) == "kill"


def test_strict_kills_what_it_does_not_name():
    for name in ("socket", "fork", "clone", "kill", "unlink", "mkdir", "connect", "ptrace", "unshare"):
        assert act("strict", "x86_64", name) == "kill"
    for name in ("read", "write", "openat", "mmap", "exit_group"):
        assert act("strict", "x86_64", name) == "allow"
    assert act("strict", "x86_64", "sendmsg", 4) == "kill"
    assert act("strict", "x86_64", "ioctl", 0, 0x5412) == "EPERM"
    assert [act("strict", "x86_64", "madvise", 0, 0, advice) for advice in (4, 12)] == ["allow", "EINVAL"]


def test_policies_change_their_base():
    policy = SeccompPolicy(allow=("ptrace",), refuse=("socket",), kill=("fork",))
    assert [
        act(policy, "x86_64", n, *a) for n, a in (("ptrace", ()), ("socket", (1,)), ("fork", ()), ("vfork", ()))
    ] == ["allow", "EPERM", "kill", "allow"]
    with pytest.raises(SpecError, match="no_such_call"):
        seccomp.compile_policy(SeccompPolicy(kill=("no_such_call",)), "x86_64")
    for name in ("execve", "mmap", "exit_group"):
        with pytest.raises(SpecError, match=name):
            seccomp.compile_policy(SeccompPolicy(kill=(name,)), "x86_64")


@pytest.mark.parametrize("machine", ARCHES)
@pytest.mark.parametrize("policy", ["default", "strict"])
def test_what_the_program_process_does_after_the_filter_is_allowed(policy, machine):
    for rule in profiles.GLUE:
        args = [0] * 6
        for arg, value, _ in rule.tests:
            args[arg] = value
        assert act(policy, machine, rule.name, *args) == "allow", rule.name


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6)
)
def test_the_filter_always_ends_and_is_short(arch, nr, args):
    action, cost = simulate(seccomp.compile_policy("default", "x86_64").program, arch, nr, tuple(args))
    assert seccomp.describe(action)
    assert cost < 24


def test_names_of_what_was_refused():
    arch = bpf.AUDIT_ARCH["x86_64"]
    assert seccomp.name_of(arch, 101) == "ptrace"
    assert seccomp.name_of(I386, 11) == "i386 syscall 11"
    assert seccomp.name_of(arch, X32 | 5) == "x32 syscall 5"
    assert seccomp.name_of(arch, 99999) == "syscall 99999"


def test_size_stays_small():
    assert len(seccomp.compile_policy("default", "x86_64").program) // 8 < 220


def test_what_is_shipped_is_what_compiling_gives():
    """Else: ./dev filters"""
    assert ship_filters.PLACE.read_text() == ship_filters.text()
    for (policy, machine, inet, disk), program in shipped.PROGRAMS.items():
        chosen = choice.filter_of(policy, machine, inet, disk)
        assert chosen._replace(made=program, key=None) == seccomp.compile_policy(policy, machine, inet, disk)
        assert (chosen.program, chosen.keys) == (program, seccomp.allows_any(policy, seccomp.KEYS, inet))
    for machine, inet, disk in itertools.product(bpf.AUDIT_ARCH, (False, True), (False, True)):
        strict = choice.filter_of("strict", machine, inet, disk)
        assert strict.program == seccomp.compile_policy("strict", machine, inet, disk).program
    assert {key[1] for key in shipped.PROGRAMS} == set(bpf.AUDIT_ARCH) == set(filter.SHIPPED)


@pytest.mark.parametrize("machine", ARCHES)
@pytest.mark.parametrize("policy", ["default", "strict", SeccompPolicy(base="none", kill=("shmget", "mount"))])
def test_the_pass_opens_what_is_refused_and_half_of_it_nothing(policy, machine):
    """docs/adr/0011: what the keeper puts in the place of PASS; never to be guessed a half at a time."""
    program = seccomp.compile_policy(policy, machine).program
    arch, low, high = bpf.AUDIT_ARCH[machine], *bpf.PASS
    refused = 0
    for nr in range(480):
        plain, cost = simulate(program, arch, nr)
        if plain == bpf.ALLOW:
            continue
        refused += 1
        assert simulate(program, arch, nr, (0, 0, 0, 0, 0, high << 32 | low))[0] == bpf.ALLOW
        for guess in (low, high << 32, (high ^ 1) << 32 | low, high << 32 | (low ^ 1 << 31), 1, 2**64 - 1):
            assert simulate(program, arch, nr, (0, 0, 0, 0, 0, guess)) == (plain, cost)
    assert refused
    foreign = 0x40000003
    assert simulate(program, foreign, 1, (0, 0, 0, 0, 0, high << 32 | low))[0] == bpf.NOTIFY


@pytest.mark.parametrize(
    ("policy", "told", "kept"),
    [
        ("default", True, True),
        ("strict", False, True),
        (SeccompPolicy(kill=("semget",)), False, False),
        (SeccompPolicy(refuse=("semget",)), True, True),
        (SeccompPolicy(base="none", kill=("mount",)), True, True),
        (SeccompPolicy(base="strict", allow=("shmget",)), False, False),
    ],
)
def test_who_makes_something_in_the_ipc_namespace_is_told_or_it_is_new_for_every_run(policy, told, kept):
    f = seccomp.compile_policy(policy, "x86_64")
    assert (f.ipc_told, f.ipc_kept) == (told, kept)
    for name in seccomp.IPC_MAKERS if told else ():
        action = simulate(f.program, bpf.AUDIT_ARCH["x86_64"], seccomp.number("x86_64", name))[0]
        assert action == (bpf.ERRNO | 1 if name in getattr(policy, "refuse", ()) else bpf.NOTIFY)


def test_a_policy_of_ones_own_is_compiled():
    policy = SeccompPolicy(allow=("ptrace", "keyctl"))
    assert choice.filter_of(policy, "x86_64", False, False) == seccomp.compile_policy(policy, "x86_64", False, False)
    assert choice.filter_of(policy, "x86_64", False, False).keys
    assert not choice.filter_of(SeccompPolicy(kill=("fork",)), "x86_64", False, False).keys
    assert choice.filter_of("none", "x86_64", False, False) == Filter("none", b"", True)


def test_numbers_that_an_older_libseccomp_lacks():
    for machine in ARCHES:
        for name, young in profiles.YOUNG.items():
            assert seccomp.number(machine, name) == young, name
        assert seccomp.number(machine, "no_such_call") == -1
    assert seccomp.number("aarch64", "fork") == -1
    assert seccomp.name_of(bpf.AUDIT_ARCH["aarch64"], 462) == "mseal"
