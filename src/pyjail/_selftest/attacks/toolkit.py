"""What attempts are made of: how they are declared, make raw system calls, and tell what they got.

Everything is told at once, a line of JSON each, so that nothing is lost when the run is ended in the middle.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import errno
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pyjail._selftest.attacks.numbers import number

Scene = Any  # dict: what the host has put up to be found, see pyjail/_selftest/scene.py
REFUSED = ("EPERM", "ENOSYS")  # what the filter answers


@dataclass(frozen=True)
class Attack:
    """One attempt and how to judge it.

    Attributes:
        tries: what it tries, after "It ...". stands_for: the incident or CVE behind it.
        errnos: a call that failed otherwise was not refused but reached the kernel's code; None = any failure is fine.
        needs: names of what must be there for it to mean something (`pyjail/_selftest/applicable.py`).
        options: how it is run, other than all the others (`pyjail/_selftest/runner.py`).
    """

    name: str
    group: str
    module: str
    tries: str
    stands_for: str
    errnos: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    pair: bool = False


ATTACKS: dict[str, Attack] = {}
FUNCTIONS: dict[str, Any] = {}


def attack(
    tries: str,
    stands_for: str,
    *,
    errnos: tuple[str, ...] | None = None,
    needs: tuple[str, ...] = (),
    name: str = "",
    **options: Any,
) -> Callable[[Any], Any]:
    """Declare an attempt: a function of the scene; or, as a class, a pair of ``leave`` and ``look``."""

    def declare(function: Any) -> Any:
        group = function.__module__.rpartition(".")[2]
        full = f"{group}.{name or function.__name__}"
        pair = isinstance(function, type)
        ATTACKS[full] = Attack(full, group, function.__module__, tries, stands_for, errnos, needs, options, pair)
        FUNCTIONS[full] = function
        return function

    return declare


def say(**what: Any) -> None:
    """One line to the judge."""
    os.write(1, json.dumps(what).encode() + b"\n")


def note(label: str, result: int, number_: int = 0, name: str = "") -> None:
    """What came of one action: a result below 0 is a refusal with this errno. ``name``: of the system call, if one."""
    told = errno.errorcode.get(number_, "") if result < 0 else ""
    say(call=label, name=name or label, result=result, errno=told)


def show(where: str, data: bytes) -> None:
    """What was found: the judge looks for what only a successful escape can have."""
    say(where=where, data=base64.b64encode(data[: 1 << 18]).decode())


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _argument(value: Any) -> Any:
    if isinstance(value, int):
        return ctypes.c_ulong(value & (1 << 64) - 1)
    return value if not isinstance(value, str) else value.encode()


def quietly(name: str, *args: Any) -> int:
    """A raw system call; -errno when it fails. Says nothing."""
    nr = number(name)
    if nr < 0:
        return -errno.ENOSYS
    result = int(_libc.syscall(ctypes.c_long(nr), *map(_argument, args)))
    return result if result != -1 else -ctypes.get_errno()


def call(name: str, *args: Any, label: str = "") -> int:
    """A raw system call, noted; -errno when it fails."""
    if number(name) < 0:
        say(call=label or name, result=-1, errno="", missing=True)
        return -errno.ENOSYS
    result = quietly(name, *args)
    note(label or name, result, -result, name)
    return result


def act(label: str, function: Callable[..., Any], *args: Any) -> Any:
    """Call something that raises OSError when it is refused, noted; its result, or None."""
    try:
        result = function(*args)
    except OSError as e:
        note(label, -1, e.errno or errno.EIO)
        return None
    note(label, 0)
    return result


def opens(paths: Iterable[str], flags: int = os.O_RDONLY, doing: str = "open") -> None:
    """Each of these must not open. Nothing is written, nothing is cut off."""
    for path in paths:
        fd = act(f"{doing} {path}", os.open, path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        if fd is not None:
            os.close(fd)


def identity(path: Any) -> bytes:
    """Which file it is: tells a file of the host without showing what is in it."""
    st = os.stat(path)
    return b"inode %d:%d " % (st.st_dev, st.st_ino)


def peek(path: str) -> None:
    """Show which file this is and what is in it, when there is anything to be had."""
    found = b""
    with contextlib.suppress(OSError, ValueError):
        found = identity(path)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            found += os.read(fd, 1 << 16)
        finally:
            os.close(fd)
    show(path, found)


def main(job: dict[str, Any]) -> None:
    """Run one attempt; the last line says that it came to its end."""
    function = FUNCTIONS[job["attack"]]
    role = job.get("role")
    kept = getattr(function, role)(job["scene"]) if role else function(job["scene"])
    say(done=job["token"])
    if role == "leave" and job.get("hold"):
        sys.stdin.read()  # until the host has looked
    del kept
