"""What `pyjail doctor` tells an admin to do, where no run refuses anything and so no `HostError` has the text."""

from __future__ import annotations

import re
from collections.abc import Iterable

PROFILE = "/etc/apparmor.d/pyjail"


def package(name: str) -> str:
    """How a Debian or Ubuntu package is installed."""
    return f"apt-get install {name}"


PRCTL = f"{package('gcc libcap-dev python3-dev')}; pip install 'pyjail-linux[doctor]'"
SYSCTL_APPARMOR = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"


def apparmor_profile(interpreter: str) -> str:
    """A profile that lets this interpreter, and nothing else, make user namespaces (apparmor.d(5))."""
    path = re.sub(r'([\\"*?\[\]{}^])', r"\\\1", interpreter)
    return (
        f"save this as {PROFILE}, then run apparmor_parser -r {PROFILE}:\n"
        "  abi <abi/4.0>,\n"
        "  include <tunables/global>\n"
        "\n"
        f'  profile pyjail "{path}" flags=(unconfined) {{\n'
        "    userns,\n"
        "    include if exists <local/pyjail>\n"
        "  }\n"
        f"every program of this interpreter gets it. For all programs of the machine instead: {SYSCTL_APPARMOR}"
    )


# ---- containers ----

# What a container engine says of itself, and what its options are for: system calls, a fresh /proc, cgroups.
SYSCALLS, PROC, CGROUPS = "system calls", "proc", "cgroups"
_DOCKER = {
    SYSCALLS: "--security-opt seccomp=unconfined --security-opt apparmor=unconfined",
    PROC: "--security-opt systempaths=unconfined",
}
_PODMAN = {
    SYSCALLS: "--security-opt seccomp=unconfined --security-opt apparmor=unconfined",
    PROC: "--security-opt unmask=/proc/*",
    CGROUPS: "--security-opt unmask=/sys/fs/cgroup --cgroupns=private -e PYJAIL_ENTER_LEAF=1",
}
_KUBERNETES = {
    SYSCALLS: "  seccompProfile: {type: Unconfined}\n  appArmorProfile: {type: Unconfined}",
    PROC: "  procMount: Unmasked  # and hostUsers: false in the pod's spec",
}


def container(kind: str, needs: Iterable[str]) -> str:
    """The options that give what is missing in this kind of container; "" when nothing is."""
    wanted = [n for n in (SYSCALLS, PROC, CGROUPS) if n in frozenset(needs)]
    if not wanted:
        return ""
    if kind == "podman":
        return " ".join(["podman run", *(_PODMAN[n] for n in wanted), "IMAGE"])
    if kind == "kubernetes":
        if CGROUPS in wanted:  # nothing less makes /sys/fs/cgroup writable
            rows = "  privileged: true  # and PYJAIL_ENTER_LEAF=1 in the container's env"
        else:
            rows = "\n".join(_KUBERNETES[n] for n in wanted)
        return f"in the container's spec:\n  securityContext:\n{re.sub('^', '  ', rows, flags=re.M)}"
    if kind == "docker":
        if CGROUPS in wanted:
            return "docker run --privileged --cgroupns=private -e PYJAIL_ENTER_LEAF=1 IMAGE"
        return " ".join(["docker run", *(_DOCKER[n] for n in wanted), "IMAGE"])
    return {
        "lxc": "lxc config set NAME security.nesting true; lxc restart NAME",
    }.get(kind, "give the container what the rows above name")


# ---- who the program is outside ----


def subordinate_ids(uid: int, *, helper: bool, lines: bool, no_new_privs: bool, switched_off: bool) -> tuple[str, str]:
    """(why an ordinary user's jails have the caller's own id, what gives them one of their own)."""
    if switched_off:
        return "PYJAIL_SUBORDINATE_IDS=0 is set", "unset PYJAIL_SUBORDINATE_IDS"
    if no_new_privs:
        fix = "start it without (systemd: NoNewPrivileges=no; docker: no --security-opt no-new-privileges)"
        return "this process has no_new_privs set, so newuidmap gains nothing", fix
    if not helper:
        return "newuidmap is not installed", package("uidmap")
    if not lines:
        return (
            f"uid {uid} has no line in /etc/subuid and /etc/subgid",
            f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -nu {uid})",
        )
    return (
        "a directory that a jail shows (this interpreter's, say) is closed to other users",
        "chmod o+rx it, or use a Python below /usr",
    )


# ---- what is read, not enforced ----


def core_dumps(pattern: str, uses_pid: str) -> tuple[bool, str, str]:
    """(whether all is well, what this kernel does with a core file, fix); core(5)."""
    if pattern.startswith("|"):
        handler = pattern[1:].split(" ")[0]
        return (
            True,
            f"core_pattern pipes to {handler}, as root and on the host, whatever RLIMIT_CORE is, but for a limit of 1: "
            "that is what jails get, so the kernel starts no handler for them; Limits(core=) above 1 would",
            "",
        )
    if pattern.startswith("@"):
        why = f"core_pattern sends to the socket {pattern.lstrip('@')} of the host, whatever RLIMIT_CORE is"
        return False, why, "sysctl -w kernel.core_pattern=core"
    name = pattern + (".PID" if uses_pid == "1" else "")
    return True, f"core_pattern is a file name ({name}): RLIMIT_CORE holds, and files stay in the jail", ""


def side_channels(smt: str, vulnerable: Iterable[str]) -> tuple[bool, str, str]:
    """(whether none is known, what is, fix). ``smt``: /sys/devices/system/cpu/smt/active."""
    open_ = sorted(vulnerable)
    said, fixes = [], []
    if smt == "1":
        said.append("SMT is on: two jails can share a core and watch each other's timing")
        fixes.append("echo off > /sys/devices/system/cpu/smt/control, or Limits(cpus={...}) with a core for each jail")
    else:
        said.append("SMT is off" if smt == "0" else "SMT: not known")
    if open_:
        said.append("not mitigated: " + ", ".join(open_))
        fixes.append("newer microcode and kernel, no mitigations=off; see /sys/devices/system/cpu/vulnerabilities")
    else:
        said.append("every known CPU vulnerability is mitigated or absent")
    return not fixes, "; ".join(said), "; ".join(fixes)
