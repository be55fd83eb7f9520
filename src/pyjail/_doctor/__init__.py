"""`doctor`: what can be enforced on this machine, layer by layer, found by doing, and the fix for what cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyjail._doctor.finding import NO, Finding


def doctor() -> tuple[Finding, ...]:
    """Find out what can be enforced here, by trying it: namespaces, mounts and filters in a process of their own,
    limits in jails that run ``true``.

    Nothing is changed but what `run` changes, too: cgroups of this process, and a warm keeper of the default jail;
    `close` ends it. What was found out about this machine before is looked at again. Takes about a second.

    Returns:
        One `Finding` for each layer, in the order in which they build on each other. The row "strict jail" is a real
        `run` with the defaults: unless its status is "no", strict jails run here.

    Raises:
        Nothing: a probe that fails is a row with status "no" and the exception as its ``why``.

    >>> import pyjail
    >>> rows = {row.layer: row for row in pyjail.doctor()}
    >>> rows["kernel"].status
    'works'
    """
    try:
        layers = _layers()
        from pyjail._doctor.examination import Examination, failed

        x = Examination()
    except Exception as e:  # the native part is missing, say: nothing else can be tried
        return (Finding("installation", NO, f"{type(e).__name__}: {e}", "pip install --force-reinstall pyjail-linux"),)
    for name, look in layers:
        try:
            x.found.append(look(x))
        except Exception as e:
            x.found.append(failed(name, e))
    return tuple(x.found)


def _layers() -> list[tuple[str, Callable[[Any], Finding]]]:
    """(name for when it fails, the probe) in the order of the page."""
    from pyjail._doctor import cgroups, fences, images, machine, proof
    from pyjail._doctor.finding import STRICT

    return [
        ("kernel", machine.kernel),
        ("python", machine.python),
        ("libseccomp", machine.libseccomp),
        ("privileges", machine.privileges),
        ("security modules", machine.security_modules),
        ("keeper", fences.keeper),
        ("clone3", fences.clone3),
        ("user namespaces", fences.user_namespaces),
        ("id mapping", machine.identities),
        ("mounts", fences.mounts),
        ("proc", fences.proc),
        ("network namespace", fences.network),
        ("other namespaces", fences.others),
        ("seccomp", fences.seccomp),
        ("landlock", fences.landlock),
        ("cgroups", cgroups.hierarchies),
        ("memory", cgroups.memory),
        ("swap", cgroups.swap),
        ("processes", cgroups.processes),
        ("cpu_time", cgroups.cpu_time),
        ("cpus", cgroups.cpus),
        ("cpuset", cgroups.cpuset),
        ("io_rate", cgroups.io_rate),
        ("limits above", cgroups.above),
        ("memory peak", cgroups.memory_peak),
        ("processes peak", cgroups.processes_peak),
        ("pressure (PSI)", cgroups.pressure),
        ("rlimits", machine.own_rlimits),
        ("core dumps", machine.core_dumps),
        ("side channels", machine.side_channels),
        ("container", machine.container),
        (STRICT, proof.strict),
        ("jail without strict", proof.loose),
        ("fresh keeper", proof.fresh),
        ("loopback", proof.loopback),
        ("egress", proof.egress),
        ("seccomp strict", proof.seccomp_strict),
        ("rootfs and binds", proof.rootfs),
        ("images", images.store),
        ("writable root", proof.writable_root),
    ]
