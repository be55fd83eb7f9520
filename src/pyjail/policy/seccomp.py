"""Profiles -> BPF. Names are resolved by libseccomp (pyseccomp, imported lazily: it costs 11-17 ms); the program is
laid out here, because first-match rules on masked arguments are more than libseccomp can express (docs/adr/0002)."""

from __future__ import annotations

import errno
import functools
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from pyjail._errors import HostError, SpecError
from pyjail._spec import SeccompPolicy
from pyjail.policy import profiles

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ARCH_NAMES = {0xC000003E: "x86_64", 0xC00000B7: "aarch64", 0x40000003: "i386", 0x40000028: "arm"}
X32_BIT = 0x40000000
ALLOW, NOTIFY, ERRNO = 0x7FFF0000, 0x7FC00000, 0x00050000

# struct seccomp_data: nr, arch, instruction_pointer, args[6]; low halves, little-endian
OFF_NR, OFF_ARCH, OFF_ARGS = 0, 4, 16
LD, AND, JEQ, JGE, JA, RET = 0x20, 0x54, 0x15, 0x35, 0x05, 0x06

Insn = tuple[int, int, int, int]  # code, jt, jf, k
Case = tuple[tuple[tuple[int, int, int], ...], int]  # tests, action


class Filter(NamedTuple):
    """A compiled profile: BPF of 8 bytes per instruction; ``notify``: some calls end the run."""

    name: str
    program: bytes
    notify: bool

    @property
    def digest(self) -> str:
        """What a receipt names it by."""
        import hashlib

        return hashlib.sha256(self.program).hexdigest()[:16]


class Rule(NamedTuple):
    """What happens to a call: "allow", "kill" or the name of an errno, when all ``tests`` hold."""

    name: str
    action: str
    tests: tuple[tuple[int, int, int], ...]
    why: str


def rules(policy: str | SeccompPolicy, inet: bool = True) -> tuple[list[Rule], str]:
    """The whole profile as rules in order of precedence, and what happens to calls that none names.

    ``inet``: there is a network to use; without one, sockets but AF_UNIX are refused: they could do nothing but leave
    counts behind in the network namespace (/proc/self/net/snmp) that the keeper's next run can read.
    """
    base = policy.base if isinstance(policy, SeccompPolicy) else policy
    if base == "strict":
        found = [Rule(*r) for r in profiles.STRICT_ARGUMENTS]
        found += [Rule(*r) for r in profiles.ARGUMENTS if r.name in ("ioctl", "fcntl", "prlimit64")]
        found += [Rule(n, "allow", (), why) for why, names in profiles.STRICT.items() for n in names.split()]
        found += [Rule(n, "ENOSYS", (), "probed by libc") for n in profiles.STRICT_MISSING.split()]
        default = "kill"
    else:
        found = [Rule(*r) for r in profiles.ARGUMENTS if inet or not r.why.startswith("AF_INET")]
        found += [Rule(n, "allow", (), why) for why, names in profiles.ALLOWED.items() for n in names.split()]
        found += [Rule(n, "EPERM", (), why) for names, why in profiles.REFUSED.items() for n in names.split()]
        found += [Rule(n, "ENOSYS", (), why) for n, why in profiles.MISSING.items()]
        default = "ENOSYS"
    if isinstance(policy, SeccompPolicy):
        for action, names in (("allow", policy.allow), ("EPERM", policy.refuse), ("kill", policy.kill)):
            for name in names:
                if action != "allow" and any(
                    g.name == name and g.name not in ("sendmsg", "recvmsg") for g in profiles.GLUE
                ):
                    raise SpecError("seccomp", name, "the jail itself needs this call until the program runs")
            found = [r for r in found if r.name not in names]
            found = [Rule(n, action, (), "asked for by the policy") for n in names] + found
    plain = {r.name for r in found if r.action == "allow" and not r.tests}
    return [*(Rule(*g) for g in profiles.GLUE if g.name not in plain), *found], default


def _seccomp() -> Any:
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as e:  # pyseccomp raises RuntimeError without the shared library
        raise HostError("seccomp", f"libseccomp cannot be loaded ({e})", "apt-get install libseccomp2") from e
    return pyseccomp


def _arch(machine: str) -> int:
    arch = _seccomp().Arch
    return int({"x86_64": arch.X86_64, "aarch64": arch.AARCH64}[machine])


def number(machine: str, name: str) -> int:
    """The number of a syscall, or -1 when this architecture or libseccomp has none of that name."""
    return max(-1, int(_seccomp().resolve_syscall(_arch(machine), name)))


def name_of(arch: int, nr: int) -> str:
    """What a report calls the syscall that was refused; a foreign architecture's comes with its name."""
    machine = ARCH_NAMES.get(arch, hex(arch))
    if machine in AUDIT_ARCH and not (machine == "x86_64" and nr & X32_BIT):
        try:
            return str(_seccomp().resolve_syscall(_arch(machine), nr).decode())
        except (ValueError, OSError, AttributeError):
            return f"syscall {nr}"
    if machine == "x86_64":
        return f"x32 syscall {nr & ~X32_BIT}"
    return f"{machine} syscall {nr}"


def _action(action: str) -> int:
    if action == "allow":
        return ALLOW
    if action == "kill":
        return NOTIFY  # the keeper notes which call it was, then kills everything (nsjail#118)
    return ERRNO | int(getattr(errno, action))


@functools.cache
def compile_policy(policy: str | SeccompPolicy, machine: str, inet: bool = True) -> Filter:
    """BPF for this machine. Foreign architectures and x32 numbers end the run. Cached by policy."""
    if policy == "none":
        return Filter("none", b"", False)
    if isinstance(policy, SeccompPolicy):
        for name in (*policy.allow, *policy.refuse, *policy.kill):
            if number(machine, name) < 0:
                raise SpecError("seccomp", name, "libseccomp knows no system call of this name here")
    found, default = rules(policy, inet)
    cases: dict[int, list[Case]] = {}
    for rule in found:
        nr = number(machine, rule.name)
        if nr >= 0:
            cases.setdefault(nr, []).append((rule.tests, _action(rule.action)))
    name = policy if isinstance(policy, str) else f"{policy.base}, changed"
    return Filter(name, assemble(AUDIT_ARCH[machine], cases, _action(default)), True)


def assemble(arch: int, cases: dict[int, list[Case]], default: int) -> bytes:
    """A binary tree over ranges of syscall numbers with the same outcome, argument tests in its leaves."""
    ranges: list[tuple[int, list[Case]]] = [(0, [((), default)])]
    for nr in range(max(cases) + 2):
        case = [*_until_certain(cases.get(nr, [])), ((), default)]
        case = _until_certain(case)
        if ranges[-1][1] != case:
            ranges.append((nr, case)) if nr else ranges.__setitem__(0, (0, case))
    # x32 numbers; above them are negative ones, which programs use to probe: no such call, as natively
    ranges += [(X32_BIT, [((), NOTIFY)]), (1 << 31, [((), default)])]
    tree = _tree(ranges)
    head: list[Insn] = [(LD, 0, 0, OFF_ARCH), (JEQ, 1, 0, arch), (RET, 0, 0, NOTIFY), (LD, 0, 0, OFF_NR)]
    program = head + tree
    if len(program) > 4096:
        raise SpecError("seccomp", len(program), "a filter has at most 4096 instructions")
    return b"".join(struct.pack("<HBBI", *insn) for insn in program)


def _until_certain(case: Iterable[Case]) -> list[Case]:
    kept: list[Case] = []
    for tests, action in case:
        kept.append((tests, action))
        if not tests:
            break
    return kept


def _tree(ranges: list[tuple[int, list[Case]]]) -> list[Insn]:
    if len(ranges) == 1:
        return _leaf(ranges[0][1])
    half = len(ranges) // 2
    left, right = _tree(ranges[:half]), _tree(ranges[half:])
    at = ranges[half][0]
    if len(left) <= 255:
        return [(JGE, len(left), 0, at), *left, *right]
    return [(JGE, 0, 1, at), (JA, 0, 0, len(left)), *left, *right]  # a jump's own offset has 8 bits


def _leaf(case: list[Case]) -> list[Insn]:
    out: list[Insn] = []
    for tests, action in case:
        body: list[Insn] = [(RET, 0, 0, action)]
        for arg, value, mask in reversed(tests):
            skip = len(body)
            body = [(LD, 0, 0, OFF_ARGS + 8 * arg), (AND, 0, 0, mask), (JEQ, 0, skip, value), *body]
        out += body
    return out


def simulate(program: bytes, arch: int, nr: int, args: tuple[int, ...] = ()) -> tuple[int, int]:
    """Run a filter without a kernel: (action, instructions executed)."""
    data = struct.pack("<iIQ6Q", nr if nr < 1 << 31 else nr - (1 << 32), arch, 0, *(*args, *(0,) * (6 - len(args))))
    code = list(struct.iter_unpack("<HBBI", program))
    acc = pc = cost = 0
    while True:
        op, jt, jf, k = code[pc]
        pc, cost = pc + 1, cost + 1
        if op == LD:
            acc = int.from_bytes(data[k : k + 4], "little")
        elif op == AND:
            acc &= k
        elif op == JEQ:
            pc += jt if acc == k else jf
        elif op == JGE:
            pc += jt if acc >= k else jf
        elif op == JA:
            pc += k
        else:
            return k, cost


def describe(action: int) -> str:
    """0x50001 -> "EPERM"."""
    if action & 0xFFFF0000 == ERRNO:
        return errno.errorcode[action & 0xFFFF]
    return {ALLOW: "allow", NOTIFY: "kill"}[action]
