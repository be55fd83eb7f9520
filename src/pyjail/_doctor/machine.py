"""Rows about the machine and this process: what is read, and what no jail has to be run for."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pyjail._base.errors import HostError
from pyjail._doctor.examination import Examination
from pyjail._doctor.finding import NO, PARTLY, WORKS, Finding
from pyjail._host import machine, subordinate_ids
from pyjail._host.machine import Host, read
from pyjail._policy import advice, bpf, filter, seccomp
from pyjail._spec.jail import Jail

OLDEST = (5, 14)


def kernel(x: Examination) -> Finding:
    """cgroup.kill and the mount calls need Linux 5.14; the system call numbers are those of two architectures."""
    uname = os.uname()
    said = f"Linux {uname.release}, {uname.machine}"
    if uname.machine not in bpf.AUDIT_ARCH:
        return Finding("kernel", NO, said, "a machine of architecture " + " or ".join(bpf.AUDIT_ARCH))
    version = re.match(r"(\d+)\.(\d+)", uname.release)
    if version is None or (int(version[1]), int(version[2])) < OLDEST:
        return Finding("kernel", NO, said, "Linux 5.14 or newer")
    return Finding("kernel", WORKS, said)


def python(x: Examination) -> Finding:
    said = f"Python {sys.version.split()[0]}, {os.path.realpath(sys.executable)}"
    return Finding("python", WORKS, said)


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


def libseccomp(x: Examination) -> Finding:
    """Compiles the default profile; without the library no policy of one's own can be."""
    jail = filter.reach(Jail())
    made = seccomp.compile_policy.__wrapped__("default", x.host.arch, *jail)  # HostError with the package to install
    name = "libseccomp"
    try:
        library = ctypes.CDLL("libseccomp.so.2")
        library.seccomp_version.restype = ctypes.POINTER(_Version)
        v = library.seccomp_version().contents
        name = f"libseccomp {v.major}.{v.minor}.{v.micro}"
    except (OSError, AttributeError):
        pass  # found elsewhere by pyseccomp: it compiled
    return Finding(
        "libseccomp", WORKS, f"{name}, the filter of the default jail has {len(made.program) // 8} instructions"
    )


# ---- security modules, containers ----


def _modules(landlock: bool) -> list[str]:
    listed = read("/sys/kernel/security/lsm").strip()
    if listed:
        return sorted({*listed.split(",")} - {"capability"})
    signs = {  # securityfs is not mounted here
        "landlock": landlock,
        "apparmor": read("/sys/module/apparmor/parameters/enabled").startswith("Y"),
        "selinux": os.path.isdir("/sys/fs/selinux"),
        "yama": os.path.isdir("/proc/sys/kernel/yama"),
    }
    return [name for name, there in signs.items() if there]


def security_modules(x: Examination) -> Finding:
    """AppArmor's restriction is named here; whether it is in the way shows in the rows of namespaces and mounts."""
    layer, found = "security modules", _modules(x.host.landlock_abi > 0)
    said = [f"active: {', '.join(found) or 'none seen'}"]
    label = read("/proc/self/attr/current").strip("\0\n ")
    if label and label != "unconfined":
        said.append(f"this process is confined as {label!r}")
    yama = read("/proc/sys/kernel/yama/ptrace_scope").strip()
    if yama:
        said.append(f"yama.ptrace_scope is {yama}; keepers are not dumpable, whatever it is")
    if x.host.apparmor and not x.host.capabilities >> 21 & 1:  # those with CAP_SYS_ADMIN are not restricted
        works = x.attempts["user"] is None and x.attempts["mounts"] is None
        said.append(
            "AppArmor restricts unprivileged user namespaces" + (", but not this interpreter's" if works else "")
        )
        if not works:
            return Finding(layer, NO, "; ".join(said), advice.apparmor_profile(os.path.realpath(sys.executable)))
    return Finding(layer, WORKS, "; ".join(said))


_IN_CGROUP = (("kubepods", "kubernetes"), ("docker", "docker"), ("libpod", "podman"), ("lxc", "lxc"))


def container_of(exists: Callable[[str], bool], environ: Mapping[str, str], text: Callable[[str], str]) -> str:
    """What kind of container this is, by the marks that engines leave; "" for none."""
    if "KUBERNETES_SERVICE_HOST" in environ:
        return "kubernetes"
    if exists("/run/.containerenv"):
        return "podman"
    if exists("/.dockerenv"):
        return "docker"
    told = text("/run/systemd/container").strip() or environ.get("container", "")
    if told:
        return {"oci": "podman"}.get(told, told)
    return next((kind for mark, kind in _IN_CGROUP if mark in text("/proc/1/cgroup")), "")


_SYSCALL_LAYERS = ("clone3", "user namespaces", "mounts", "network namespace", "other namespaces", "seccomp")
_CGROUP_LAYERS = ("cgroups", "memory", "processes", "cpus")


def modules_of(label: str) -> set[str]:
    """Which security module confines a process with this label (/proc/PID/attr/current), as engines have it done."""
    label = label.strip("\0\n ")
    if label.endswith((" (enforce)", " (complain)")):
        return {advice.APPARMOR}
    return {advice.SELINUX} if ":container_t:" in label else set()


def _cgroups_lack(host: Host) -> set[str]:
    """Whether an engine's options help: they make what is mounted read-only writable for the container's root."""
    closed = [h for h in host.hierarchies if os.path.exists(h.own) and os.statvfs(h.own).f_flag & os.ST_RDONLY]
    if host.euid != 0 or not closed:
        return set()
    return {advice.CGROUPS} | ({advice.V1} if any(h.version == 1 for h in closed) else set())


def container(x: Examination) -> Finding:
    """Comes after the rows that tell what is missing: its fix is the line that gives all of that."""
    kind = container_of(os.path.exists, os.environ, read)
    if not kind:
        return Finding("container", WORKS, "no mark of a container engine")
    bad = {row.layer: row.fix for row in x.found if row.status == NO}
    needs = set()
    if any(fix and not fix.startswith("sysctl") for layer, fix in bad.items() if layer in _SYSCALL_LAYERS):
        needs |= {advice.SYSCALLS, advice.PROC}  # a masked /proc shows only when the mounts before it work
        needs |= modules_of(read("/proc/self/attr/current"))
    if bad.get("proc"):
        needs.add(advice.PROC)
    if bad.keys() & set(_CGROUP_LAYERS):
        needs |= _cgroups_lack(machine.host())
    fix = "" if x.is_strict else advice.container(kind, needs)
    return Finding("container", PARTLY if fix else WORKS, f"this looks like {kind}", fix)


# ---- this process ----

_NEEDED = {6: "setgid", 7: "setuid", 21: "sys_admin"}


def privileges(x: Examination) -> Finding:
    """Our own capability sets and securebits by python-prctl, which acts on the calling process."""
    layer, host = "privileges", x.host
    lacking = [name for bit, name in _NEEDED.items() if not host.capabilities >> bit & 1]
    who = f"uid {host.euid}, effective capabilities {host.capabilities:#x}"
    try:
        import prctl
    except Exception as e:  # not installed; or built for another kernel's headers, whatever it then raises
        return Finding(
            layer, PARTLY, f"{who}; python-prctl is not here ({e}): no bounding set, no securebits", advice.PRCTL
        )
    sets = _capability_sets(prctl)
    bits = [name for name in ("keep_caps", "no_setuid_fixup", "noroot") if getattr(prctl.securebits, name)]
    said = "; ".join([f"uid {host.euid}", *(f"{name} {value}" for name, value in sets.items())])
    said += f"; securebits {', '.join(bits) or 'none'}; no_new_privs {prctl.get_no_new_privs()}"
    if host.euid == 0 and lacking:
        fix = f"give it {', '.join(lacking)} (docker: --cap-add, systemd: AmbientCapabilities=, CapabilityBoundingSet=)"
        return Finding(
            layer,
            NO if "setuid" in lacking or "setgid" in lacking else PARTLY,
            f"{said}; without {', '.join(lacking)}",
            fix,
        )
    if "noroot" in bits and host.euid != 0:
        return Finding(layer, PARTLY, f"{said}: a setuid newuidmap gains nothing", "start it without SECBIT_NOROOT")
    return Finding(layer, WORKS, said)


def _capability_sets(prctl: Any) -> dict[str, str]:
    found = {}
    for name in ("effective", "permitted", "inheritable", "bounding"):
        holder = prctl.capbset if name == "bounding" else getattr(prctl, f"cap_{name}")
        known, there = 0, []
        for cap in prctl.ALL_CAP_NAMES:
            try:
                if getattr(holder, cap):
                    there.append(cap)
                known += 1
            except OSError:
                continue  # this kernel has no such capability
        missing = [c for c in prctl.ALL_CAP_NAMES if c not in there]
        if not there:
            found[name] = "none"
        elif len(there) == known:
            found[name] = "all"
        elif len(missing) <= 6:
            found[name] = "all but " + ",".join(missing)
        else:
            found[name] = ",".join(there)
    return found


def own_rlimits(x: Examination) -> Finding:
    """Hard limits of the caller below the defaults of `Limits`: nothing inside can be raised above them."""
    _, plan = x.default
    names = {row.limit for row in plan.rlimits} - {"", "cpu_time"}
    short = [m for m in plan.missing if m.control in names and "hard" in m.cause]
    if short:
        return Finding("rlimits", NO, "; ".join(f"{m.control}: {m.cause}" for m in short), short[0].fix)
    rows = ", ".join(row.name for row in plan.rlimits if row.limit)
    return Finding("rlimits", WORKS, f"no hard limit of this process is below the defaults ({rows})")


def core_dumps(x: Examination) -> Finding:
    pattern = read("/proc/sys/kernel/core_pattern").strip()
    if not pattern:
        return Finding("core dumps", PARTLY, "kernel.core_pattern cannot be read, or is empty")
    fine, why, fix = advice.core_dumps(pattern, read("/proc/sys/kernel/core_uses_pid").strip())
    return Finding("core dumps", WORKS if fine else PARTLY, why, fix)


def side_channels(x: Examination) -> Finding:
    """For information: what jails on one machine can learn from each other through its CPUs."""
    where = "/sys/devices/system/cpu"
    try:
        names = os.listdir(f"{where}/vulnerabilities")
    except OSError:
        return Finding("side channels", PARTLY, f"{where}/vulnerabilities cannot be read: nothing is known")
    open_ = [name for name in names if read(f"{where}/vulnerabilities/{name}").startswith("Vulnerable")]
    fine, why, fix = advice.side_channels(read(f"{where}/smt/active").strip(), open_)
    return Finding("side channels", WORKS if fine else PARTLY, why, fix)


def identities(x: Examination) -> Finding:
    """Who the program is outside; proved by the ids that a run got."""
    layer, host = "id mapping", x.host
    template, _ = x.default
    for m in template.missing:
        if m.control == "ids":
            return Finding(layer, NO, m.cause, m.fix)
    try:
        got = x.loose[0].receipt["ids"]
    except HostError as e:
        return Finding(layer, NO, f"not tried: see {e.control}")
    if got.status != "enforced" and x.loose[1].proc:
        return Finding(layer, NO, got.value)
    who = got.value.partition("; ")[2]  # what is before it, only a /proc inside can tell
    if template.own_ids:
        how = "a subordinate id, by newuidmap" if template.subordinate else "an id of the keeper's own"
        return Finding(layer, WORKS, f"{how}: {who}")
    if host.single_id:
        why = "our user namespace has one id only, so programs have it outside, too"
        return Finding(layer, PARTLY, f"{why}: {who}", "start this program in a user namespace with a range of ids")
    why, fix = advice.subordinate_ids(
        host.euid,
        helper=all(subordinate_ids.on_path(n) for n in ("newuidmap", "newgidmap")),
        lines=host.subuids is not None,
        no_new_privs=machine.status_of().get("NoNewPrivs") == "1",
        switched_off=os.environ.get("PYJAIL_SUBORDINATE_IDS") == "0",
    )
    return Finding(layer, PARTLY, f"programs have this user's own id outside ({who}): {why}", fix)
