"""Which permissions of a policy are known ways out of a jail. The reasons are those of profiles.py, not copies."""

from __future__ import annotations

import functools
import re
import sys
import warnings
from typing import NamedTuple

from pyjail._base import lazy
from pyjail._base.errors import SpecError
from pyjail._base.rare_errors import PolicyWarning
from pyjail._policy import profiles, seccomp
from pyjail._spec.jail import Jail
from pyjail._spec.seccomp import BASES, SeccompPolicy

PACKAGE = __name__.partition(".")[0]


class Escape(NamedTuple):
    """One call that the default profile refuses for a reason: its name, arguments, and what they mean."""

    call: str
    args: dict[int, int]
    means: str = ""


def _constant(why: str) -> str:
    """The name that a reason begins with: TIOCSTI, SO_ATTACH_BPF."""
    found = re.match("[A-Z][A-Z0-9_]+", why)
    return found[0] if found else ""


# Calls that the default profile refuses unless their arguments are known ones: what the refused ones may be.
BY_ARGUMENT: tuple[Escape, ...] = (
    *(
        Escape("clone", {0: flag}, name)
        for flag, name in (
            (0x10000000, "CLONE_NEWUSER"), (0x20000, "CLONE_NEWNS"), (0x40000000, "CLONE_NEWNET"),
            (0x20000000, "CLONE_NEWPID"), (0x8000000, "CLONE_NEWIPC"), (0x4000000, "CLONE_NEWUTS"),
            (0x2000000, "CLONE_NEWCGROUP"), (0x80, "CLONE_NEWTIME"),
        )
    ),
    *(
        Escape("socket", {0: family, 1: kind, 2: protocol}, name)
        for family, kind, protocol, name in (
            (16, 3, 0, "AF_NETLINK"), (17, 3, 0, "AF_PACKET"), (38, 5, 0, "AF_ALG"), (40, 1, 0, "AF_VSOCK"),
            (2, 3, 1, "raw IP"), (10, 3, 58, "raw IPv6"), (2, 1, 262, "MPTCP"), (2, 1, 132, "SCTP"),
        )
    ),
    Escape("socketpair", {0: 16, 1: 3}, "AF_NETLINK"),
    Escape("mmap", {3: 0x40000}, "MAP_HUGETLB"),
    Escape("memfd_create", {1: 4}, "MFD_HUGETLB"),
    Escape("shmget", {2: 0o4000}, "SHM_HUGETLB"),
    Escape("personality", {0: 0x400000}, "READ_IMPLIES_EXEC"),
    Escape("personality", {0: 0x100000}, "MMAP_PAGE_ZERO"),
    *(
        Escape("ioctl", {1: request}, name)
        for request, name in (
            (0x8940, "SIOCGIFBR"), (0x8982, "SIOCGIFVLAN"), (0x9408, "BTRFS_IOC_SYNC"), (0xC020660B, "FS_IOC_FIEMAP"),
            (0x80111500, "FS_IOC_GETFSUUID"), (0x8008662C, "EXT4_IOC_GETFSUUID"), (0xC050FF0B, "PIDFD_GET_INFO"),
        )
    ),
    Escape("setsockopt", {1: 6, 2: 38}, "TCP_AO_ADD_KEY"),
    Escape("setsockopt", {1: 41, 2: 42}, "MCAST_JOIN_GROUP"),
    Escape("prlimit64", {0: 1}, "another process"),
    Escape("setrlimit", {0: profiles.RLIMIT_CORE}, "RLIMIT_CORE"),
    Escape("prlimit64", {1: profiles.RLIMIT_CORE, 2: 1}, "RLIMIT_CORE"),
)  # fmt: skip

ESCAPES: tuple[Escape, ...] = (
    *(Escape(name, {}) for table in (profiles.REFUSED, profiles.NOOP) for names in table for name in names.split()),
    *(Escape(name, {}) for name in profiles.MISSING),
    *(
        Escape(rule.name, {arg: value for arg, value, _ in rule.tests}, _constant(rule.why))
        for rule in profiles.ARGUMENTS
        if rule.action != "allow" and rule.tests and rule.why not in (profiles.UNTRACED, profiles.CORE)
    ),
    *BY_ARGUMENT,
)
UNFILTERED = "every call that no rule names is allowed: the kernel's whole surface, with all that is refused elsewhere"


def lint(policy: str | SeccompPolicy | Jail) -> list[PolicyWarning]:
    """What in a policy or a jail is a known way out, or into the kernel, or opens the host; empty for nothing.

    Each `PolicyWarning` has ``call`` (the system call, or "*"), ``means`` (what of it: a flag, a socket family;
    may be empty) and ``why`` (the reason for which the default profile refuses it). The same warnings are shown by
    ``pyjail plan`` and given, by `warnings.warn`, when a `SeccompPolicy` is first used for a run.

    Of a `Jail` the same of its filter, and a `JailWarning` (``field``, ``opens``, ``why``) for each opening: writable
    or sensitive binds, the packages of ``python=``, variables that are named as secrets are, fences that are down, and
    an embedder whose own files lie in a system directory.

    Args:
        policy: "default", "strict", "none", a `SeccompPolicy` or a `Jail`. Names of calls are not looked up.

    Raises SpecError when it is none of these.

    >>> from pyjail import SeccompPolicy, lint
    >>> [(w.call, w.why) for w in lint(SeccompPolicy(allow=("ptrace",)))]
    [('ptrace', 'reach into other processes')]
    >>> from pyjail import Jail, Mount
    >>> [(w.field, w.opens) for w in lint(Jail(mounts=(Mount.bind("/etc", "/conf"),)))]
    [('mounts', '/etc')]
    """
    if isinstance(policy, Jail):
        with lazy.lock:
            from pyjail._host import embedder
            from pyjail._policy import opens

        sources = [mount.src or "" for mount in policy.mounts if mount.kind == "bind"]
        return [*opens.openings(policy, embedder.around(sources)), *lint(policy.seccomp)]
    if not isinstance(policy, SeccompPolicy) and not (isinstance(policy, str) and policy in BASES):
        raise SpecError("policy", policy, '"default", "strict", "none", a SeccompPolicy or a Jail is needed')
    found, default = seccomp.rules(policy)
    reference, reference_default = seccomp.rules("default")
    by_call: dict[str, list[Escape]] = {}
    for escape in ESCAPES:
        by_call.setdefault(escape.call, []).append(escape)
    means: dict[tuple[str, str], list[str]] = {}  # (call, why) -> which uses of it
    for rule in found:
        if rule.source != "policy" or rule.action != "allow":
            continue
        masks = seccomp.deciding(rule.name, [rule])
        opened: dict[str, list[str]] = {}
        # Each known escape as far as this rule lets it through, and what the rule names itself.
        for escape in (*by_call.get(rule.name, ()), Escape(rule.name, {})):
            args = [escape.args.get(i, 0) for i in range(6)]
            for arg, value, mask in rule.tests:
                args[arg] = args[arg] & ~mask | value
            refusal = seccomp.decide(reference, reference_default, rule.name, args)
            if seccomp.decide(found, default, rule.name, args) == rule and _is_refusal(refusal):
                known = escape.args and all(args[i] == v or not v & masks.get(i, 0) for i, v in escape.args.items())
                opened.setdefault(refusal.why, []).extend([escape.means] if known else [])
        for why, uses in opened.items():
            means.setdefault((rule.name, why), []).extend(uses or ([_text(rule)] if rule.tests else []))
    everything = [PolicyWarning("*", "", UNFILTERED)] if default == "allow" else []
    return everything + [
        PolicyWarning(call, ", ".join(dict.fromkeys(uses)), why) for (call, why), uses in means.items()
    ]


def _text(rule: seccomp.Rule) -> str:
    return ", ".join(f"arg{arg} & {mask:#x} == {value:#x}" for arg, value, mask in rule.tests)


def _is_refusal(rule: seccomp.Rule) -> bool:
    """Refused for a reason, not only because the profile has never heard of it."""
    return rule.action != "allow" and rule.source != "default"


@functools.cache
def warn(policy: SeccompPolicy) -> None:
    """Give the warnings of a policy, once in this process, in the name of the first caller outside of pyjail."""
    for warning in lint(policy):
        level, frame = 1, sys._getframe()
        while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == PACKAGE:
            level, frame = level + 1, frame.f_back
        warnings.warn(warning, stacklevel=level)
