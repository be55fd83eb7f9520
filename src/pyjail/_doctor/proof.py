"""Rows that are runs: the strict jail that decides the exit code, and one jail for each feature."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from typing import Any

from pyjail._doctor.examination import Examination, run
from pyjail._doctor.finding import NO, PARTLY, STRICT, WORKS, Finding
from pyjail._host.machine import Host
from pyjail._images.store import Store
from pyjail._spec.egress import Egress
from pyjail._spec.jail import Jail, Mount


def strict(x: Examination) -> Finding:
    left_out = [row.name for row in x.strict.receipt.not_enforced]
    if left_out:  # Landlock is a second fence: its absence is said, not refused
        return Finding(STRICT, PARTLY, f"pyjail.run(['true']) ended ok, without {', '.join(left_out)}")
    return Finding(STRICT, WORKS, "pyjail.run(['true']) ended ok, and every control of its receipt is enforced")


def loose(x: Examination) -> Finding:
    result, jail = x.loose
    left_out = [row.name for row in result.receipt.not_enforced]
    if not jail.proc:
        why = f"{_lesser(jail)} runs; not enforced, or not to be read back without a /proc: {', '.join(left_out)}"
        return Finding("jail without strict", PARTLY, why)
    if left_out:
        return Finding("jail without strict", PARTLY, f"{_lesser(jail)} runs, without {', '.join(left_out)}")
    return Finding("jail without strict", WORKS, f"{_lesser(jail)} runs, and lacks nothing")


def _lesser(jail: Jail) -> str:
    return f"Jail(strict=False{'' if jail.proc else ', proc=False'})"


def _variant(x: Examination, layer: str, said: str, **changes: Any) -> Finding:
    """With strict where the default jail runs so; else on top of what does run: what is lacking has rows of its own."""
    if x.is_strict:
        run(Jail(strict=True, fresh=True, **changes))
        return Finding(layer, WORKS, f"Jail({said}) runs")
    lesser = x.loose[1]
    run(replace(lesser, **changes))
    return Finding(layer, PARTLY, f"Jail({said}) runs as {_lesser(lesser)} does")


def fresh(x: Examination) -> Finding:
    return _variant(x, "fresh keeper", "fresh=True")


def loopback(x: Examination) -> Finding:
    return _variant(x, "loopback", 'network="loopback"', network="loopback")


# What its proxy says to who asks for a host.
_ASKS = """import socket
with socket.create_connection(("127.0.0.1", 3128), 10) as s:
    s.sendall(b"CONNECT pyjail.invalid:443 HTTP/1.1\\r\\n\\r\\n")
    raise SystemExit(s.recv(12) != b"HTTP/1.1 403")"""


def egress(x: Examination) -> Finding:
    """An empty list refuses all, and the refusal comes from a proxy outside."""
    jail = replace(Jail(strict=True) if x.is_strict else x.loose[1], network=Egress())
    found = run(jail, args=(sys.executable, "-I", "-c", _ASKS)).egress
    rows = () if found is None else found.rows
    if [(row.host, row.allowed) for row in rows] != [("pyjail.invalid", False)]:
        return Finding("egress", NO, f"Jail(network=Egress([])) told {rows} of one connection that was to be refused")
    said = "Jail(network=Egress([])) runs, and its proxy refused what is not listed"
    return Finding("egress", WORKS if x.is_strict else PARTLY, said)


def seccomp_strict(x: Examination) -> Finding:
    return _variant(x, "seccomp strict", 'seccomp="strict"', seccomp="strict")


def system_root(directory: str, host: Host) -> tuple[Mount, ...]:
    """Make ``directory`` look like this system's root, with symlinks; the mounts that fill it."""
    mounts = []
    for entry in host.system:
        path = f"{directory}/{entry.name}"
        if entry.kind == "link":
            os.symlink(entry.link, path)
        else:
            os.mkdir(path)
            mounts.append(Mount.bind(entry.source, f"/{entry.name}"))
    return tuple(mounts)


def rootfs(x: Examination) -> Finding:
    with tempfile.TemporaryDirectory(prefix="pyjail-doctor-") as directory:
        mounts = system_root(directory, x.host)
        return _variant(x, "rootfs and binds", "rootfs=DIR, mounts=(Mount.bind(...),)", rootfs=directory, mounts=mounts)


def writable_root(x: Examination) -> Finding:
    """Where the store is, or would be: whether its file system shows files under other ids is told by trying alone."""
    near = os.path.dirname(Store().path)
    where = near if os.path.isdir(near) and os.access(near, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="pyjail-doctor-", dir=where) as directory:
        mounts = system_root(directory, x.host)
        said = 'image=NAME, writable_root="512M"'
        return _variant(x, "writable root", said, rootfs=directory, mounts=mounts, writable_root="1M")
