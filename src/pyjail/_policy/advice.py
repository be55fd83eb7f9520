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

# What a container lacks, and the least that gives it. V1 says of CGROUPS that some are of cgroup v1.
SYSCALLS, APPARMOR, SELINUX, PROC, CGROUPS, V1 = "system calls", "AppArmor", "SELinux", "proc", "cgroups", "v1"
_ORDER = (SYSCALLS, APPARMOR, SELINUX, PROC, CGROUPS)
_ENGINES = {
    SYSCALLS: "--security-opt seccomp=unconfined",
    APPARMOR: "--security-opt apparmor=unconfined",
    SELINUX: "--security-opt label=disable",
}
_LESS = "less than seccomp=unconfined: Docker's own profile with the calls that jails need, as docs/doctor.md makes it"
_OWN_CGROUPS = "--cgroupns=private -e PYJAIL_ENTER_LEAF=1"
_DOCKER = {
    **_ENGINES,
    PROC: "--security-opt systempaths=unconfined",
    CGROUPS: f"--security-opt writable-cgroups=true {_OWN_CGROUPS}",
}
_PODMAN = {
    **_ENGINES,
    PROC: "--security-opt unmask=/proc/*",
    CGROUPS: f"--security-opt unmask=/sys/fs/cgroup {_OWN_CGROUPS}",
}
_DOCKER_28 = (
    "writable-cgroups is in Docker 28 and newer, not rootless; before that nothing less than --privileged does it"
)
_NOTE_V1 = (
    "cgroup v1 is not made to be given away: who may write there lifts the container's own limits, and Podman "
    "refuses. Boot the host with cgroup v2 only: systemd.unified_cgroup_hierarchy=1"
)
_SECURITY_CONTEXT = {
    SYSCALLS: "seccompProfile: {type: Unconfined}",
    APPARMOR: "appArmorProfile: {type: Unconfined}",
    SELINUX: "seLinuxOptions: {type: spc_t}",
    PROC: "procMount: Unmasked",
}
_WRITABLE = """runtimeClassName: pyjail
a RuntimeClass of that name, its handler in the nodes' containerd (2.1 and newer) with writable cgroups (v2):
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.pyjail]
  runtime_type = 'io.containerd.runc.v2'
  cgroup_writable = true
CRI-O instead: the annotation io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw: "true"; neither: privileged: true"""


def container(kind: str, needs: Iterable[str]) -> str:
    """The least options that give what is missing in this kind of container; "" when nothing is."""
    needs = frozenset(needs)
    wanted = [n for n in _ORDER if n in needs]
    if not wanted:
        return ""
    if kind == "kubernetes":
        return _kubernetes(wanted)
    if kind in ("docker", "podman"):
        options = _DOCKER if kind == "docker" else _PODMAN
        lines = [" ".join([f"{kind} run", *(options[n] for n in wanted), "IMAGE"])]
        lines += [_LESS] if SYSCALLS in wanted else []
        lines += [_DOCKER_28] if CGROUPS in wanted and kind == "docker" else []
        lines += [_NOTE_V1] if V1 in needs else []
        return "\n".join(lines)
    return {
        "lxc": "lxc config set NAME security.nesting true; lxc restart NAME",
    }.get(kind, "give the container what the rows above name")


def _kubernetes(wanted: list[str]) -> str:
    context = [f"      {_SECURITY_CONTEXT[n]}" for n in wanted if n in _SECURITY_CONTEXT]
    container = ["    securityContext:", *context] if context else []
    if CGROUPS in wanted:
        container.append('    env: [{name: PYJAIL_ENTER_LEAF, value: "1"}]')
    lines = ["in the pod's spec:"]
    if PROC in wanted:
        lines.append("  hostUsers: false  # Kubernetes asks for it where /proc is unmasked")
    lines += ["  containers:", "  - name: ...", *container]
    if CGROUPS in wanted:
        lines.append(f"  {_WRITABLE}")
    return "\n".join(lines)


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
