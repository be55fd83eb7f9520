"""What a watched program did: its system calls as the filter decides them, and the paths that it met."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from pyjail._learn.ptrace import (
    fd_path,
    initial_stack,
    read_memory,
    read_string,
)
from pyjail._policy import bpf, seccomp
from pyjail._policy.learned import Call

MOST_CALLS = 4096  # different ones (call and arguments that decide): a program that makes up more is told by count
MOST_NAMES = 8 << 20  # bytes of paths that are kept, of one with what keeping it costs
PER_NAME = 256
AT_FDCWD = 0xFFFFFF9C
NOFOLLOW = 0x100
AT_PHDR, AT_PHNUM, AT_EXECFN = 3, 5, 31
PT_INTERP, PT_PHDR = 3, 6


class _Path(NamedTuple):
    """Where a call has its path: the argument of the directory (-1: none), of the path, of AT_SYMLINK_NOFOLLOW."""

    directory: int
    path: int
    flags: int = -1
    follow: bool = True


# Calls that look at files that are there. Those that make or change some find only the run's own tmpfs to do it in.
PATHS = {
    **dict.fromkeys(("open", "access", "stat", "statfs", "chdir", "getxattr", "listxattr", "execve"), _Path(-1, 0)),
    **dict.fromkeys(("lstat", "readlink", "lgetxattr", "llistxattr"), _Path(-1, 0, follow=False)),
    **dict.fromkeys(("openat", "openat2", "faccessat", "faccessat2"), _Path(0, 1)),
    "readlinkat": _Path(0, 1, follow=False),
    "newfstatat": _Path(0, 1, 3),
    "statx": _Path(0, 1, 2),
}
LISTING = ("getdents", "getdents64")


class _Known(NamedTuple):
    name: str
    deciding: tuple[tuple[int, int], ...]  # (argument, mask) that rules of this call test
    path: _Path | None
    lists: bool


class Executed(NamedTuple):
    """One execve: the path that was asked for, the program that runs, its argv[0], its dynamic loader."""

    asked: str
    exe: str
    argv0: str
    loader: str


class Observer:
    """Callbacks of a `Watch`, and what they found."""

    def __init__(self, rules: Sequence[seccomp.Rule], default: str, machine: str) -> None:
        self.rules, self.default, self.machine = list(rules), default, machine
        self.strict, _ = seccomp.rules("strict")  # what is learned may be told apart by these, too
        self.counts: Counter[Call] = Counter()
        self.used: set[tuple[str, bool]] = set()  # paths inside, absolute; whether a last symlink was followed
        self.listed: set[str] = set()
        self.execs: set[Executed] = set()
        self._room = MOST_NAMES
        self._known: dict[int, _Known] = {}
        self._calls: dict[tuple[int, ...], Call] = {}
        self._pending: dict[int, tuple[str, bool] | str] = {}

    def entered(self, tid: int, nr: int, args: Sequence[int], arch: int) -> None:
        """Before a call."""
        if arch != bpf.AUDIT_ARCH[self.machine] or bpf.X32_BIT <= nr < 1 << 31:
            self.counts[Call(seccomp.name_of(arch, nr), (), "kill", ())] += 1
            return
        known = self._known.get(nr) or self._look_up(nr)
        key = (nr, *(args[i] & mask for i, mask in known.deciding))
        call = self._calls.get(key)
        if call is None:
            call = self._decide(known, key[1:])
            if len(self._calls) < MOST_CALLS:
                self._calls[key] = call
        self.counts[call] += 1
        self._pending.pop(tid, None)
        if call.action == "allow":
            if known.path is not None:
                self._path(tid, known.path, args)
            elif known.lists:
                self._pending[tid] = fd_path(tid, args[0] & 0x7FFFFFFF)

    def _look_up(self, nr: int) -> _Known:
        name = seccomp.name_of(bpf.AUDIT_ARCH[self.machine], nr)
        masks = seccomp.deciding(name, [*self.rules, *self.strict])
        self._known[nr] = known = _Known(name, tuple(masks.items()), PATHS.get(name), name in LISTING)
        return known

    def _decide(self, known: _Known, values: Sequence[int]) -> Call:
        args = tuple((i, value) for (i, _), value in zip(known.deciding, values, strict=True))
        given = dict(args)
        rule = seccomp.decide(self.rules, self.default, known.name, [given.get(i, 0) for i in range(6)])
        return Call(known.name, args if len(self._calls) < MOST_CALLS else (), rule.action, rule.tests)

    def _path(self, tid: int, where: _Path, args: Sequence[int]) -> None:
        raw = read_string(tid, args[where.path])
        if not raw:
            return
        path = os.fsdecode(raw)
        if not path.startswith("/"):
            start = args[where.directory] & 0xFFFFFFFF if where.directory >= 0 else AT_FDCWD
            base = _link(f"/proc/{tid}/cwd") if start == AT_FDCWD else fd_path(tid, start)
            path = f"{base}/{path}"
            if not base:
                return
        follow = where.follow and not (where.flags >= 0 and args[where.flags] & NOFOLLOW)
        self._pending[tid] = (path, follow)

    def left(self, tid: int, value: int) -> None:
        """After a call: what is not there is not needed."""
        found = self._pending.pop(tid, None)
        if not found or value < 0:
            return
        if isinstance(found, str):
            if found.startswith("/"):
                self._keep(self.listed, found, len(found))
        else:
            self._keep(self.used, found, len(found[0]))

    def _keep(self, known: set[Any], found: Any, size: int) -> None:
        """One file has as many names ("a/../a/../f") as a program cares to make, each as long as a path can be."""
        if found not in known and size + PER_NAME <= self._room:
            self._room -= size + PER_NAME
            known.add(found)

    def executed(self, tid: int) -> None:
        """After an execve. What it looked up, the kernel looked up without any call."""
        self._pending.pop(tid, None)
        try:
            argv, auxv = initial_stack(tid)
            argv0 = read_string(tid, argv[0]) if argv else None
            asked = os.fsdecode(read_string(tid, auxv.get(AT_EXECFN, 0)) or b"")
            loader = _loader(tid, auxv.get(AT_PHDR, 0), auxv.get(AT_PHNUM, 0))
        except OSError:  # it is dying already
            return
        if asked and not asked.startswith("/"):
            asked = f"{_link(f'/proc/{tid}/cwd')}/{asked}"
        found = Executed(asked, _link(f"/proc/{tid}/exe"), os.fsdecode(argv0 or b""), loader)
        self._keep(self.execs, found, sum(map(len, found)))


def _link(path: str) -> str:
    """Where a link of /proc points to, as it is named inside; "" when it cannot be read."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _loader(tid: int, headers: int, count: int) -> str:
    """The PT_INTERP of the program that was just executed, read from its memory; "" when it is static."""
    if not headers or not 0 < count <= 128:
        return ""
    rows = [
        struct.unpack_from("<IIQQQQQQ", row)
        for row in (read_memory(tid, headers + 56 * i, 56) for i in range(count))
        if len(row) == 56
    ]
    bias = next((headers - row[3] for row in rows if row[0] == PT_PHDR), 0)
    address = next((bias + row[3] for row in rows if row[0] == PT_INTERP), 0)
    return os.fsdecode(read_string(tid, address) or b"") if address else ""
