"""Rows that are runs: the strict jail that decides the exit code, and one jail for each feature."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

from pyjail._doctor.examination import Examination, run
from pyjail._doctor.finding import PARTLY, STRICT, WORKS, Finding
from pyjail._host import Host
from pyjail._spec import Jail, Mount


def strict(x: Examination) -> Finding:
    left_out = [row.name for row in x.strict.receipt.not_enforced]
    if left_out:  # Landlock is a second fence: its absence is said, not refused
        return Finding(STRICT, PARTLY, f"pyjail.run(['true']) ended ok, without {', '.join(left_out)}")
    return Finding(STRICT, WORKS, "pyjail.run(['true']) ended ok, and every control of its receipt is enforced")


def loose(x: Examination) -> Finding:
    left_out = [row.name for row in x.loose.receipt.not_enforced]
    if left_out:
        return Finding("jail without strict", PARTLY, f"Jail(strict=False) runs, without {', '.join(left_out)}")
    return Finding("jail without strict", WORKS, "Jail(strict=False) runs, and lacks nothing")


def _variant(x: Examination, layer: str, jail: Callable[[bool], Jail], said: str) -> Finding:
    """With strict where the default jail runs so: what that one lacks has its own row."""
    if x.is_strict:
        run(jail(True))
        return Finding(layer, WORKS, f"{said} runs")
    run(jail(False))
    return Finding(layer, PARTLY, f"{said} runs with strict=False")


def fresh(x: Examination) -> Finding:
    return _variant(x, "fresh keeper", lambda s: Jail(fresh=True, strict=s), "Jail(fresh=True)")


def loopback(x: Examination) -> Finding:
    jail = 'Jail(network="loopback")'
    return _variant(x, "loopback", lambda s: Jail(network="loopback", fresh=True, strict=s), jail)


def seccomp_strict(x: Examination) -> Finding:
    jail = 'Jail(seccomp="strict")'
    return _variant(x, "seccomp strict", lambda s: Jail(seccomp="strict", fresh=True, strict=s), jail)


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
        jail = "Jail(rootfs=DIR, mounts=(Mount.bind(...),))"
        return _variant(
            x, "rootfs and binds", lambda s: Jail(rootfs=directory, mounts=mounts, fresh=True, strict=s), jail
        )
