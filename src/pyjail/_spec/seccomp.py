"""What a user wants of the system call filter, as frozen, validated data: `SeccompRule`, `SeccompPolicy`."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from pyjail._base.errors import SpecError
from pyjail._base.shown import Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Test = tuple[int, int, int]  # argument, value, mask

LOW32 = 0xFFFFFFFF
MOST_TESTS = 12  # of one rule: a jump of the filter reaches 255 instructions, a test has up to 6
BASES = ("default", "strict", "none")
MOST_RULES = 2048  # a filter has at most 4096 instructions, and a rule takes two or more
ERRNOS = frozenset(name for name in dir(errno) if name.startswith("E"))  # with synonyms such as EOPNOTSUPP


def _set(obj: object, name: str, value: object) -> None:
    object.__setattr__(obj, name, value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isidentifier()


def _is_errno(value: object) -> bool:
    return isinstance(value, str) and value in ERRNOS


@dataclass(frozen=True)
class SeccompRule(Shown):
    """One rule of a `SeccompPolicy`: what happens to a system call when all its tests hold.

    Attributes:
        name: of the call, as in its manual page.
        action: "allow", "kill" (ends the run with verdict SECURITY), "noop" (returns 0, and does nothing) or
            the name of an errno that it returns.
        tests: tuples (argument, value) or (argument, value, mask): the argument, numbered from 0, masked, equals
            the value. The default mask is the low 32 bits, as the kernel reads an int; a size or a pointer
            needs a mask of 64. Pointers can be compared, what they point to cannot be seen. Default: no tests,
            the rule always fits.

    Raises SpecError for an action, an argument's number or a value that cannot be.

    >>> SeccompRule("socket", "EAFNOSUPPORT", ((0, 16),)).tests
    ((0, 16, 4294967295),)
    """

    name: str
    action: str
    tests: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise SpecError("rules.name", self.name, "a system call's name is needed")
        if self.action not in ("allow", "kill", "noop") and not _is_errno(self.action):
            raise SpecError(
                "rules.action", self.action, '"allow", "kill", "noop" or an errno\'s name like "EPERM" is needed'
            )
        if not isinstance(self.tests, (tuple, list)):
            raise SpecError("rules.tests", self.tests, "a tuple of (argument, value[, mask]) is needed")
        tests = tuple(dict.fromkeys(_test(t) for t in self.tests))
        if len(tests) > MOST_TESTS:
            raise SpecError("rules.tests", len(tests), f"a rule has at most {MOST_TESTS} tests")
        for i, (arg, value, mask) in enumerate(tests):
            for other, also, mask2 in tests[:i]:
                if arg == other and (value ^ also) & mask & mask2:
                    raise SpecError("rules.tests", self.tests, f"two tests of argument {arg} can never hold together")
        _set(self, "tests", tests)


def _test(test: object) -> Test:
    if not isinstance(test, (tuple, list)) or not 2 <= len(test) <= 3:
        raise SpecError("rules.tests", test, "(argument, value) or (argument, value, mask) is needed")
    if any(isinstance(n, bool) or not isinstance(n, int) for n in test):
        raise SpecError("rules.tests", test, "whole numbers are needed")
    arg, value, mask = test if len(test) == 3 else (*test, LOW32)
    if not 0 <= arg <= 5:
        raise SpecError("rules.tests", test, "a system call has arguments 0 to 5")
    if not 1 <= mask < 1 << 64:
        raise SpecError("rules.tests", test, "a mask is from 1 to 2^64-1")
    if not 0 <= value < 1 << 64:
        raise SpecError("rules.tests", test, "a value is from 0 to 2^64-1; write a negative one as the kernel sees it")
    if value & ~mask:
        raise SpecError("rules.tests", test, "the value has bits outside of the mask (default: 0xffffffff)")
    return arg, value, mask


@dataclass(frozen=True)
class SeccompPolicy(Shown):
    """A profile of your own: a base, and changes to it.

    For each call the first of these that fits decides: ``rules`` in their order, then ``allow``, ``refuse`` and
    ``kill``, then the base. An empty list changes nothing; it never means "everything".

    Attributes:
        base: "default", "strict", or "none" (what no rule names is allowed). Default "default".
        allow: names that are let through whatever their arguments are.
        refuse: names that return ``errno``.
        kill: names that end the run with verdict SECURITY.
        rules: tuple of `SeccompRule`, for decisions by argument or with an errno of their own.
        errno: what ``refuse`` returns, by name. Default "EPERM"; "ENOSYS" makes many programs fall back.
        foreign: what calls of another architecture do (int 0x80 on x86_64, and x32): "kill", the default, or an errno's
            name. None is ever carried out. ldd(1) tries the loaders of all architectures that it finds, so "ENOSYS" is
            for whoever runs what agents wish.

    Raises SpecError for bad fields here, and, before anything is started, for names that are no system call of this
    machine. `pyjail.lint` tells which of its permissions are known ways out of a jail.

    >>> SeccompPolicy(refuse=("socket",)).base
    'default'
    >>> SeccompPolicy(base="strict", allow=("pipe2",), rules=(SeccompRule("socket", "allow", ((0, 1),)),)).allow
    ('pipe2',)
    """

    base: str = "default"
    allow: tuple[str, ...] = ()
    refuse: tuple[str, ...] = ()
    kill: tuple[str, ...] = ()
    rules: tuple[SeccompRule, ...] = ()
    errno: str = "EPERM"
    foreign: str = "kill"

    def __post_init__(self) -> None:
        if self.base not in BASES:
            raise SpecError("base", self.base, 'must be "default", "strict" or "none"')
        if not _is_errno(self.errno):
            raise SpecError("errno", self.errno, 'an errno\'s name like "EPERM" is needed')
        if self.foreign != "kill" and not _is_errno(self.foreign):
            raise SpecError("foreign", self.foreign, '"kill" or an errno\'s name like "ENOSYS" is needed')
        seen: dict[str, str] = {}
        for field in ("allow", "refuse", "kill"):
            names = getattr(self, field)
            if not isinstance(names, (tuple, list)) or not all(_is_name(n) for n in names):
                raise SpecError(field, names, "a tuple of system call names is needed")
            for name in names:
                if name in seen:
                    where = "twice in it" if seen[name] == field else f"in {seen[name]} already"
                    raise SpecError(field, name, f"this call is named {where}")
                seen[name] = field
            _set(self, field, tuple(names))
        if not isinstance(self.rules, (tuple, list)) or not all(isinstance(r, SeccompRule) for r in self.rules):
            raise SpecError("rules", self.rules, "a tuple of SeccompRule(...) is needed")
        if len(self.rules) > MOST_RULES:
            raise SpecError("rules", len(self.rules), f"a policy has at most {MOST_RULES} rules")
        _set(self, "rules", tuple(self.rules))
        _reachable(self.rules, seen)


def _reachable(rules: Iterable[SeccompRule], named: dict[str, str]) -> None:
    """A rule behind one that always fits first would be accepted and never be carried out."""
    before: dict[str, list[SeccompRule]] = {}
    for rule in rules:
        if not rule.tests and rule.name in named:
            raise SpecError("rules", rule, f"this call is named in {named[rule.name]}, too: only one can hold")
        for earlier in before.get(rule.name, ()):
            if set(earlier.tests) <= set(rule.tests):
                raise SpecError("rules", rule, f"never reached: {earlier} before it fits first")
        before.setdefault(rule.name, []).append(rule)
