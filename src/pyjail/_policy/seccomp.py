"""Profiles -> rules -> BPF. Names are resolved by libseccomp (pyseccomp, imported lazily: it costs 11-17 ms); the
program is laid out by `pyjail._policy.bpf`, because first-match rules on masked arguments are more than libseccomp can
express (docs/adr/0002)."""

from __future__ import annotations

import errno
import functools
from collections.abc import Iterable, Sequence

from pyjail._base import fds, lazy
from pyjail._base.errors import HostError, SpecError
from pyjail._base.records import NamedTuple
from pyjail._policy import profiles
from pyjail._policy.bpf import (
    ALLOW,
    AUDIT_ARCH,
    ERRNO,
    MOST,
    NOTIFY,
    X32_BIT,
    Case,
    assemble,
)
from pyjail._policy.filter import NONE, Filter
from pyjail._spec.seccomp import SeccompPolicy, SeccompRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEYS = ("keyctl", "add_key", "request_key")
IPC_MAKERS = ("shmget", "semget", "msgget", "mq_open")  # as csrc/run.c has them
ARCH_NAMES = {0xC000003E: "x86_64", 0xC00000B7: "aarch64", 0x40000003: "i386", 0x40000028: "arm"}


class Rule(NamedTuple):
    """What happens to a call: "allow", "kill", "noop" (it returns 0) or the name of an errno, when all ``tests`` hold.

    ``source``: "policy" (the user's), "jail" (what it needs itself until the program runs) or "base NAME".
    """

    name: str
    action: str
    tests: tuple[tuple[int, int, int], ...]
    why: str
    source: str = "base"

    def fits(self, args: Sequence[int]) -> bool:
        """Whether all tests hold; arguments that are not given are 0."""
        return all((args[i] if i < len(args) else 0) & mask == value for i, value, mask in self.tests)


def _base(base: str, inet: bool, disk: bool) -> tuple[list[Rule], str]:
    """A profile as rules in order of precedence, and what happens to calls that none names."""
    if base == "none":
        return [], "allow"
    source, table = f"base {base}", profiles.ARGUMENTS
    if base == "strict":
        found = [Rule(*r, source) for r in profiles.STRICT_ARGUMENTS]
        found += [Rule(*r, source) for r in table if r.name in profiles.STRICT_AS_ABOVE]
        found += [Rule(n, "allow", (), why, source) for why, names in profiles.STRICT.items() for n in names.split()]
        found += [Rule(n, "ENOSYS", (), "probed by libc", source) for n in profiles.STRICT_MISSING.split()]
        return found, "kill"
    found = [
        Rule(*r, source)
        for r in table
        if (inet or not r.why.startswith("AF_INET")) and not (disk and r.action == "noop")
    ]
    found += [
        Rule(n, "allow" if disk else "noop", (), why, source)
        for names, why in profiles.NOOP.items()
        for n in names.split()
    ]
    found += [Rule(n, "allow", (), why, source) for why, names in profiles.ALLOWED.items() for n in names.split()]
    found += [Rule(n, "EPERM", (), why, source) for names, why in profiles.REFUSED.items() for n in names.split()]
    found += [Rule(n, "ENOSYS", (), why, source) for n, why in profiles.MISSING.items()]
    return found, "ENOSYS"


def _asked(policy: SeccompPolicy) -> tuple[list[Rule], list[Rule]]:
    """A policy's rules with tests, and those that always fit. SpecError for what the jail cannot do without."""
    tested: list[Rule] = []
    plain: list[Rule] = []
    for r in policy.rules:
        if r.action != "allow" and not _spares_the_jail(r):
            raise SpecError("rules", r, "the jail itself makes this call until the program runs")
        tests = tuple((arg, value, mask) for arg, value, mask in r.tests)
        (tested if tests else plain).append(Rule(r.name, r.action, tests, "a rule of the policy", "policy"))
    for field, action in (("allow", "allow"), ("refuse", policy.errno), ("kill", "kill")):
        for name in getattr(policy, field):
            if action != "allow" and not _spares_the_jail(SeccompRule(name, action)):
                raise SpecError(field, name, "the jail itself makes this call until the program runs")
            plain.append(Rule(name, action, (), f"named in the policy's {field}", "policy"))
    return tested, plain


def _spares_the_jail(rule: SeccompRule) -> bool:
    """Refusing this leaves what the program's process does before execve alone."""
    if all(g.name != rule.name for g in profiles.GLUE):
        return True
    if not rule.tests:  # then the jail's own rule, for its own fd, comes first
        return rule.name in ("recvmsg", "ioctl")
    fixed = profiles.GLUE_ARGUMENTS.get(rule.name, {})
    return any(arg in fixed and fixed[arg] & mask != value for arg, value, mask in rule.tests)


def rules(policy: str | SeccompPolicy, inet: bool = True, disk: bool = False) -> tuple[list[Rule], str]:
    """The whole profile as rules in order of precedence, and what happens to calls that none names.

    Rules of the policy with tests come first, in order; then what the jail needs itself; then the policy's rules
    without tests and its lists; then the base. What can never be reached is left out.

    ``inet``: there is a network to use; without one, sockets but AF_UNIX are refused: they could do nothing but leave
    counts behind in the network namespace (/proc/self/net/snmp) that the keeper's next run can read.

    ``disk``: something of the host can be written. Without that, fsync(2) and its like have nothing to do.
    """
    tested, plain = _asked(policy) if isinstance(policy, SeccompPolicy) else ([], [])
    base, default = _base(policy.base if isinstance(policy, SeccompPolicy) else policy, inet, disk)
    free = {r.name for r in _reached(plain + base) if r.action == "allow" and not r.tests}
    if default == "allow":
        free |= {g.name for g in profiles.GLUE} - {r.name for r in plain}
    glue = [Rule(*g, "jail") for g in profiles.GLUE if g.name not in free]
    return _reached(tested + glue + plain + base), default


def allows_any(policy: str | SeccompPolicy, names: Sequence[str], inet: bool = True) -> bool:
    """Whether one of these calls may be allowed in some case."""
    found, default = rules(policy, inet)
    return default == "allow" or any(r.name in names and r.action == "allow" for r in found)


def allows_plainly(policy: str | SeccompPolicy, name: str, inet: bool = True) -> bool:
    """Whether this call is allowed before any test of its arguments, or by the first one."""
    found, default = rules(policy, inet)
    return next((r.action for r in found if r.name == name), default) == "allow"


def _always(found: list[Rule], default: str, name: str) -> bool:
    """Whether this call is allowed whatever its arguments."""
    rules = [r for r in found if r.name == name]
    return all(r.action == "allow" for r in rules) and (default == "allow" or any(not r.tests for r in rules))


def _kills(found: list[Rule], default: str, name: str) -> bool:
    """Whether this call may end the run."""
    rules = [r for r in found if r.name == name]
    return any(r.action == "kill" for r in rules) or (default == "kill" and all(r.tests for r in rules))


def _reached(found: list[Rule]) -> list[Rule]:
    """Without the rules that an earlier one of the same call takes every case from."""
    before: dict[str, list[set[tuple[int, int, int]]]] = {}
    kept = []
    for rule in found:
        earlier = before.setdefault(rule.name, [])
        if not any(tests <= set(rule.tests) for tests in earlier):
            kept.append(rule)
            earlier.append(set(rule.tests))
    return kept


def decide(found: list[Rule], default: str, name: str, args: Sequence[int] = ()) -> Rule:
    """What `rules` say of one call, rule by rule, as the documentation has it; the compiled filter must agree."""
    for rule in found:
        if rule.name == name and rule.fits(args):
            return rule
    return Rule(name, default, (), "no rule names it", "default")


def deciding(name: str, found: Iterable[Rule]) -> dict[int, int]:
    """{argument: mask} of what rules look at in one call."""
    masks: dict[int, int] = {}
    for arg, _, mask in (test for rule in found if rule.name == name for test in rule.tests):
        masks[arg] = masks.get(arg, 0) | mask
    return dict(sorted(masks.items()))


def _seccomp() -> Any:
    try:
        with lazy.lock:
            import pyseccomp
    except (ImportError, RuntimeError, OSError) as e:  # pyseccomp raises RuntimeError without the shared library
        fds.blame(e)
        raise HostError("seccomp", f"libseccomp cannot be loaded ({e})", "apt-get install libseccomp2") from e
    return pyseccomp


def _arch(machine: str) -> int:
    arch = _seccomp().Arch
    return int({"x86_64": arch.X86_64, "aarch64": arch.AARCH64}[machine])


def number(machine: str, name: str) -> int:
    """The number of a syscall, or -1 when this architecture has none of that name, or nobody knows it."""
    found = int(_seccomp().resolve_syscall(_arch(machine), name))
    return profiles.YOUNG.get(name, -1) if found == -1 else max(-1, found)  # below -1: on other architectures only


def name_of(arch: int, nr: int) -> str:
    """What a report calls the syscall that was refused; a foreign architecture's comes with its name."""
    machine = ARCH_NAMES.get(arch, hex(arch))
    if nr >= 1 << 31:
        return f"syscall {(nr & 0xFFFFFFFF) - (1 << 32)}"
    if machine in AUDIT_ARCH and not (machine == "x86_64" and nr & X32_BIT):
        try:
            return str(_seccomp().resolve_syscall(_arch(machine), nr).decode())
        except (ValueError, OSError, AttributeError):
            return next((name for name, young in profiles.YOUNG.items() if young == nr), f"syscall {nr}")
    if machine == "x86_64":
        return f"x32 syscall {nr & ~X32_BIT}"
    return f"{machine} syscall {nr}"


def _action(action: str) -> int:
    if action == "allow":
        return ALLOW
    if action == "noop":
        return ERRNO
    if action == "kill":
        return NOTIFY  # the keeper notes which call it was, then kills everything (nsjail#118)
    return ERRNO | int(getattr(errno, action))


def _check_names(policy: SeccompPolicy, machine: str) -> None:
    asked = [(field, name) for field in ("allow", "refuse", "kill") for name in getattr(policy, field)]
    for field, name in [*asked, *(("rules", r.name) for r in policy.rules)]:
        if number(machine, name) < 0:
            with lazy.lock:
                import difflib

            near = difflib.get_close_matches(name, {r.name for r in _base("default", True, False)[0]}, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SpecError(field, name, f"there is no system call of this name on {machine}{hint}")


@functools.cache
def compile_policy(policy: str | SeccompPolicy, machine: str, inet: bool = True, disk: bool = False) -> Filter:
    """BPF for this machine, by libseccomp's numbers. Foreign architectures and x32 numbers end the run, unless it says
    otherwise. Cached by policy."""
    if policy == "none":
        return NONE
    if isinstance(policy, SeccompPolicy):
        _check_names(policy, machine)
    found, default = rules(policy, inet, disk)
    told = allows_any(policy, IPC_MAKERS, inet) and not any(_kills(found, default, name) for name in IPC_MAKERS)
    cases: dict[int, list[Case]] = {}
    for rule in found:
        nr = number(machine, rule.name)
        if nr >= 0:
            tells = told and rule.name in IPC_MAKERS and rule.action == "allow"
            cases.setdefault(nr, []).append((rule.tests, NOTIFY if tells else _action(rule.action)))
    for name in IPC_MAKERS if told and default == "allow" else ():
        cases.setdefault(number(machine, name), []).append(((), NOTIFY))
    name = policy if isinstance(policy, str) else f"{policy.base}, changed"
    try:
        foreign = "kill" if isinstance(policy, str) else policy.foreign
        program = assemble(AUDIT_ARCH[machine], cases, _action(default), _action(foreign))
    except ValueError as e:
        raise SpecError("seccomp", int(str(e)), f"a filter has at most {MOST} instructions") from None
    splice = _always(found, default, "splice")
    kept = told or not allows_any(policy, IPC_MAKERS, inet)
    return Filter(name, program, allows_any(policy, KEYS, inet), splice, told, kept)


def describe(action: int) -> str:
    """0x50001 -> "EPERM"."""
    if action & 0xFFFF0000 == ERRNO:
        return errno.errorcode[action & 0xFFFF] if action != ERRNO else "noop"
    return {ALLOW: "allow", NOTIFY: "kill"}[action]
