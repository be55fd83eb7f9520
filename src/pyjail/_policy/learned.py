"""The calls that a program made -> the smallest policy under which it makes them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pyjail._policy import profiles, seccomp
from pyjail._policy.filter import Reach
from pyjail._spec.seccomp import SeccompPolicy, SeccompRule

Tests = tuple[tuple[int, int, int], ...]
MOST_VALUES = 16  # of the arguments of one call; with more, it is allowed as the learning policy had it


class Call(NamedTuple):
    """One call as the filter tells them apart: name, the arguments that decide, what was decided, by which tests."""

    name: str
    args: tuple[tuple[int, int], ...]
    action: str
    tests: Tests

    @property
    def all_args(self) -> tuple[int, ...]:
        """The six arguments, 0 where they do not matter."""
        known = dict(self.args)
        return tuple(known.get(i, 0) for i in range(6))


def smallest(calls: Iterable[Call], rules: Sequence[seccomp.Rule], machine: str, reach: Reach) -> SeccompPolicy:
    """The policy. ``rules``: those that the calls were made under.

    On base "strict" it adds what was used: fewer calls are allowed than on any other base. A refused call that has no
    name here (ENOSYS for a number from the future) cannot be added to "strict", which kills it; then it is
    "default" that stands, less everything that was not used and is not in "strict" either.
    """
    done = sorted(set(calls))
    if all(c.action in ("allow", "kill") or seccomp.number(machine, c.name) >= 0 for c in done):
        return _changes("strict", done, rules, reach)
    strict, _ = seccomp.rules("strict", *reach)
    default, _ = seccomp.rules("default", *reach)
    kept = {r.name for r in strict} | {g.name for g in profiles.GLUE} | {c.name for c in done}
    unused = {r.name for r in default if r.action == "allow" and r.name not in kept}
    kill = tuple(sorted(n for n in unused if seccomp.number(machine, n) >= 0))
    return _changes("default", [c for c in done if seccomp.number(machine, c.name) >= 0], rules, reach, kill)


def _changes(
    base: str, calls: Sequence[Call], rules: Sequence[seccomp.Rule], reach: Reach, kill: tuple[str, ...] = ()
) -> SeccompPolicy:
    """Base, and what differs from it."""
    found, default = seccomp.rules(base, *reach)
    differing: dict[str, list[Call]] = {}
    for call in calls:
        if call.action != "kill" and seccomp.decide(found, default, call.name, call.all_args).action != call.action:
            differing.setdefault(call.name, []).append(call)
    allow: list[str] = []
    refused: dict[str, str] = {}
    tested: list[SeccompRule] = []
    for name, ones in differing.items():
        own = [r for r in rules if r.name == name]
        if any(r.tests for r in own):
            tested += _by_argument(name, ones, own)
        elif ones[0].action == "allow":
            allow.append(name)
        else:
            refused[name] = ones[0].action
    errno, _ = (Counter(e for e in refused.values() if e != "noop").most_common(1) or [("EPERM", 0)])[0]
    tested += [SeccompRule(n, e) for n, e in sorted(refused.items()) if e != errno]
    refuse = tuple(sorted(n for n, e in refused.items() if e == errno))
    return SeccompPolicy(base, tuple(sorted(allow)), refuse, kill, tuple(tested), errno)


def _by_argument(name: str, calls: Sequence[Call], own: Sequence[seccomp.Rule]) -> list[SeccompRule]:
    """Rules for a call whose arguments decide: those that fitted, and of the one without tests only the values seen."""
    fitted = {(c.action, c.tests) for c in calls if c.tests}
    masks = seccomp.deciding(name, own)
    values = sorted(
        {(c.action, tuple((i, v & masks[i], masks[i]) for i, v in c.args if i in masks)) for c in calls if not c.tests}
    )
    everything = len(values) > MOST_VALUES or any(not tests for _, tests in values)
    wanted = []
    for i, rule in enumerate(own):
        later = own[i + 1 :]
        shields = any((r.action, r.tests) in fitted and r.action != rule.action and _overlap(r, rule) for r in later)
        if (rule.action, rule.tests) in fitted or shields or everything:
            wanted.append(SeccompRule(name, rule.action, rule.tests))
    if everything:
        return wanted
    return wanted + [SeccompRule(name, action, tests) for action, tests in values]


def _overlap(a: seccomp.Rule, b: seccomp.Rule) -> bool:
    """Some arguments fit both."""
    return not any(i == j and (v ^ w) & m & n for i, v, m in a.tests for j, w, n in b.tests)
