"""A second fence by path and port, for when a namespace or a mount should fail (landlock(7))."""

from __future__ import annotations

from pyjail._base.records import NamedTuple
from pyjail._policy.mounts import run_tmpfs
from pyjail._spec.jail import Jail

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
LOOK = EXECUTE | READ_FILE | READ_DIR
# Rights by the ABI that brought them: kernel 5.13, 5.19 (REFER), 6.2 (TRUNCATE), 6.10 (IOCTL_DEV).
FS_BY_ABI = ((1, (1 << 13) - 1), (2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
BIND_TCP, CONNECT_TCP = 1, 2  # ABI 4, kernel 6.7
ABSTRACT_UNIX_SOCKET, SIGNAL = 1, 2  # ABI 6, kernel 6.12
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV


class Rule(NamedTuple):
    """One landlock_add_rule(2): what is allowed beneath ``path``, a path inside the jail."""

    path: str
    access: int
    why: str


class Ruleset(NamedTuple):
    """What is handled, so refused unless a rule allows it. All 0: no Landlock."""

    fs: int
    net: int
    scoped: int
    rules: tuple[Rule, ...]
    abi: int


def ruleset(jail: Jail, abi: int, files: frozenset[str] = frozenset()) -> Ruleset:
    """The ruleset for this kernel's ABI; ``abi`` < 1 means that it has none. ``files``: destinations of bound files."""
    if abi < 1 or not jail.landlock:
        return Ruleset(0, 0, 0, (), 0)
    handled = sum(rights for since, rights in FS_BY_ABI if abi >= since)
    write = handled & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV)  # devices are never made inside
    rules = [Rule("/", LOOK, "what is mounted may be read and run")]
    if jail.writable_root is not None:
        rules = [Rule("/", write, "a root that can be written to")]
    writable = [*run_tmpfs(jail), *(m.dst for m in jail.mounts if m.kind == "tmpfs" or not m.ro)]
    for path in dict.fromkeys(writable):
        rights = write & OF_FILES if path in files else write  # the kernel refuses a directory's rights on a file
        rules.append(Rule(path, rights, "writable by design"))
    rules.append(Rule("/dev", (READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV) & handled, "only harmless devices"))
    net = BIND_TCP | CONNECT_TCP if abi >= 4 and jail.network == "none" else 0
    together = any(m.kind == "box" for m in jail.mounts)  # its programs may signal each other, and talk
    scoped = ABSTRACT_UNIX_SOCKET | SIGNAL if abi >= 6 and not together else 0
    return Ruleset(handled, net, scoped, tuple(rules), abi)
