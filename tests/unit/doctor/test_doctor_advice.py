"""The causes that `pyjail doctor` finds, and the texts that it gives to an admin."""

from __future__ import annotations

import errno
import os
import sys

import pytest

import pyjail
from pyjail import Finding
from pyjail._doctor import cgroups, fences, machine
from pyjail._host import machine as host_machine
from pyjail._policy import advice, delegation, obstacles

HOST = host_machine.host()._replace(seccomp=False, apparmor=False)


def test_attempts_are_explained_by_the_obstacles_of_the_run_path():
    filtered = HOST._replace(seccomp=True)
    off = HOST._replace(namespaces_off=("user",))
    for name, call, number, host, fix in (
        ("clone3", "clone3", errno.EPERM, filtered, obstacles.UNCONFINE),
        ("clone3", "clone3", errno.ENOSYS, HOST, "Linux 5.14 or newer"),
        ("user", "unshare user", errno.ENOSPC, off, obstacles.MORE_NAMESPACES),
        ("mounts", "mount_setattr", errno.EPERM, filtered, obstacles.UNCONFINE),
        ("network", "unshare net", errno.ENOSPC, HOST, obstacles.MORE_NAMESPACES),
        ("others", "unshare ipc", errno.EPERM, filtered, obstacles.UNCONFINE),
        ("proc", "fsopen", errno.EPERM, filtered, obstacles.UNCONFINE),
        ("seccomp", "seccomp", -31, HOST, obstacles.UNCONFINE),
        ("mounts", "unshare user", errno.EPERM, HOST, ""),
        ("user", "unshare user", errno.EINVAL, HOST, "a kernel with CONFIG_USER_NS"),
        ("network", "unshare net", errno.ENOSYS, filtered, obstacles.UNCONFINE),
    ):
        assert fences.explain(name, call, number, host).fix == fix, (name, call)
    masked = fences.explain("proc", "fsmount", errno.EPERM, HOST)
    assert (masked.control, "procMount Unmasked" in masked.fix) == ("proc", True)
    assert "vm.memfd_noexec" in fences.explain("keeper_file", "execveat", errno.EACCES, HOST).cause
    assert "EINVAL" in fences.explain("seccomp", "seccomp", errno.EINVAL, HOST).cause


def test_apparmor_gets_a_whole_profile_for_this_interpreter():
    import os

    restricted = HOST._replace(apparmor=True)
    fix = fences.explain("mounts", "mount_setattr", errno.EACCES, restricted).fix
    assert f'profile pyjail "{os.path.realpath(sys.executable)}" flags=(unconfined) {{\n    userns,\n' in fix
    assert "save this as /etc/apparmor.d/pyjail" in fix
    assert "apparmor_parser -r /etc/apparmor.d/pyjail" in fix
    assert "kernel.apparmor_restrict_unprivileged_userns=0" in fix
    assert fix.count("{") == fix.count("}") == 1
    assert r'"/opt/a b/py\*\{1\}"' in advice.apparmor_profile("/opt/a b/py*{1}")


class Fake:
    """An Examination of a made-up machine."""

    def __init__(self, found=(), strict=False, host=HOST, **more):
        self.found, self.is_strict, self.host = list(found), strict, host
        vars(self).update(more)


def attempts(**failures):
    names = ("user", "mounts", "seccomp", "seccomp_listener", "landlock", "keeper_memfd", "keeper_file")
    return {**dict.fromkeys(names), **failures}


def test_apparmors_restriction_has_a_row_even_when_this_interpreter_is_exempt():
    host = HOST._replace(apparmor=True, capabilities=0)
    row = machine.security_modules(Fake(host=host, attempts=attempts(mounts=("mount_setattr", 13))))
    assert (row.status, "profile pyjail" in row.fix) == ("no", True)
    row = machine.security_modules(Fake(host=host, attempts=attempts()))
    assert (row.status, row.fix) == ("works", "")
    assert "not this interpreter's" in row.why


@pytest.mark.parametrize(
    ("files", "environ", "texts", "kind"),
    [
        ((), {}, {}, ""),
        (("/.dockerenv",), {}, {}, "docker"),
        (("/run/.containerenv",), {"container": "oci"}, {}, "podman"),
        (("/.dockerenv",), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, {}, "kubernetes"),
        ((), {}, {"/proc/1/cgroup": "0::/kubepods.slice/x\n"}, "kubernetes"),
        ((), {}, {"/proc/1/cgroup": "4:memory:/docker/abc\n"}, "docker"),
        ((), {"container": "lxc"}, {}, "lxc"),
        ((), {}, {"/run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
    ],
)
def test_containers_are_known_by_their_marks(files, environ, texts, kind):
    assert machine.container_of(files.__contains__, environ, lambda path: texts.get(path, "")) == kind


@pytest.mark.parametrize(
    ("kind", "needs", "expected"),
    [
        ("docker", {advice.SYSCALLS}, "docker run --security-opt seccomp=unconfined IMAGE"),
        ("docker", {advice.SYSCALLS, advice.APPARMOR}, "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined IMAGE"),
        ("podman", {advice.SYSCALLS, advice.SELINUX}, "podman run --security-opt seccomp=unconfined --security-opt label=disable IMAGE"),
        ("docker", {advice.PROC}, "docker run --security-opt systempaths=unconfined IMAGE"),
        ("docker", {advice.CGROUPS, advice.PROC}, "docker run --security-opt systempaths=unconfined --security-opt writable-cgroups=true --cgroupns=private -e PYJAIL_ENTER_LEAF=1 IMAGE"),
        ("podman", {advice.PROC}, "podman run --security-opt unmask=/proc/* IMAGE"),
        ("podman", {advice.CGROUPS}, "podman run --security-opt unmask=/sys/fs/cgroup --cgroupns=private -e PYJAIL_ENTER_LEAF=1 IMAGE"),
        ("docker", set(), ""),
    ],
)  # fmt: skip
def test_container_options_are_those_that_are_needed(kind, needs, expected):
    assert advice.container(kind, needs).partition("\n")[0] == expected
    assert ("Docker 28" in advice.container(kind, needs)) == (kind == "docker" and advice.CGROUPS in needs)


def test_what_an_engine_can_give_of_cgroup_v1_is_said():
    for kind in ("docker", "podman"):
        assert "systemd.unified_cgroup_hierarchy=1" in advice.container(kind, {advice.CGROUPS, advice.V1})


@pytest.mark.parametrize(
    ("label", "module"),
    [
        ("docker-default (enforce)\n", {advice.APPARMOR}), ("unconfined\n", set()), ("", set()), ("kernel\0", set()),
        ("system_u:system_r:container_t:s0:c1,c2\0", {advice.SELINUX}), ("system_u:system_r:spc_t:s0\0", set()),
    ],
)  # fmt: skip
def test_only_a_security_module_that_is_there_is_asked_to_go(label, module):
    assert machine.modules_of(label) == module


def test_kubernetes_gets_lines_of_a_spec():
    spec = advice.container("kubernetes", {advice.SYSCALLS, advice.APPARMOR, advice.PROC})
    for line in ("seccompProfile: {type: Unconfined}", "appArmorProfile: {type: Unconfined}", "procMount: Unmasked"):
        assert f"\n      {line}" in spec
    assert "hostUsers: false" in spec
    assert "cgroup" not in spec
    spec = advice.container("kubernetes", {advice.CGROUPS})
    for line in (
        "runtimeClassName: pyjail",
        "cgroup_writable = true",
        "cgroup2-mount-hierarchy-rw",
        "PYJAIL_ENTER_LEAF",
    ):
        assert line in spec
    assert "Unconfined" not in spec


def test_the_container_row_asks_for_what_the_other_rows_lack(monkeypatch):
    monkeypatch.setattr(machine, "container_of", lambda *a: "docker")
    refused = [Finding("clone3", "no", "a filter", obstacles.UNCONFINE), Finding("proc", "no", "see", "")]
    row = machine.container(Fake(refused))
    assert (row.status, "seccomp=unconfined" in row.fix, "systempaths=unconfined" in row.fix) == ("works partly", True, True)  # fmt: skip
    off = [Finding("user namespaces", "no", "off", obstacles.MORE_NAMESPACES), Finding("proc", "no", "see", "")]
    assert machine.container(Fake(off)).fix == ""  # an engine's options would not help
    no_cgroups = [Finding("memory", "no", "read-only", "remount")]
    h = host_machine.Hierarchy(2, frozenset(("memory",)), "/", True, mount="/")  # any mount will do
    monkeypatch.setattr(host_machine, "host", lambda: HOST._replace(euid=0, hierarchies=(h,)))
    for flags, asked in (os.ST_RDONLY, True), (0, False):  # what is not read-only has another cause
        monkeypatch.setattr(os, "statvfs", lambda path, flags=flags: type("Stat", (), {"f_flag": flags}))
        assert ("writable-cgroups=true" in machine.container(Fake(no_cgroups)).fix) == asked
    assert machine.container(Fake(refused, strict=True)) == Finding("container", "works", "this looks like docker")


def test_why_a_user_has_no_subordinate_ids_and_what_gives_them():
    base = {"helper": True, "lines": True, "no_new_privs": False, "switched_off": False}
    for change, fix in (
        ({"helper": False}, "apt-get install uidmap"),
        ({"lines": False}, "usermod --add-subuids"),
        ({"no_new_privs": True}, "NoNewPrivileges=no"),
        ({"switched_off": True}, "unset PYJAIL_SUBORDINATE_IDS"),
        ({}, "chmod o+rx"),
    ):
        assert fix in advice.subordinate_ids(1000, **{**base, **change})[1]


def test_a_piped_core_pattern_is_explained():
    fine, why, _ = advice.core_dumps("|/usr/share/apport/apport %p", "0")
    assert fine
    assert "/usr/share/apport/apport" in why
    assert "but for a limit of 1" in why  # which is what _policy/rlimits.py sets
    from pyjail._policy import rlimits

    assert next(r.soft for r in rlimits.rows(pyjail.Limits(), True) if r.name == "RLIMIT_CORE") == 1
    assert advice.core_dumps("core", "1")[1].startswith("core_pattern is a file name (core.PID)")
    assert not advice.core_dumps("@/run/coredump.socket", "0")[0]


def test_side_channels():
    assert advice.side_channels("0", [])[0]
    fine, why, fix = advice.side_channels("1", ["mds", "l1tf"])
    assert not fine
    assert "SMT is on" in why
    assert "l1tf, mds" in why
    assert "smt/control" in fix
    assert advice.side_channels("", [])[1].startswith("SMT: not known")


def test_landlock_by_abi():
    for abi, status, fix in (
        (0, "no", "lsm=landlock"),
        (3, "works partly", "6.12"),
        (5, "works partly", "6.12"),
        (6, "works", ""),
    ):
        row = fences.landlock(Fake(host=HOST._replace(landlock_abi=abi), attempts=attempts()))
        assert row.status == status, abi
        assert fix in row.fix
    assert "TCP" in fences.landlock(Fake(host=HOST._replace(landlock_abi=3), attempts=attempts())).why


def test_keepers_without_a_memfd_are_executed_from_the_file():
    refused = ("memfd_create", errno.EACCES)
    row = fences.keeper(Fake(attempts=attempts(keeper_memfd=refused)))
    assert (row.status, "vm.memfd_noexec=1" in row.fix) == ("works partly", True)
    row = fences.keeper(Fake(attempts=attempts(keeper_memfd=refused, keeper_file=("execveat", errno.EACCES))))
    assert row.status == "no"


def test_a_filter_with_a_listener_around_us_leaves_no_room_for_ours():
    row = fences.seccomp(Fake(attempts=attempts(seccomp_listener=("seccomp", errno.EBUSY))))
    assert (row.status, row.fix) == ("no", obstacles.UNCONFINE)
    assert "listener" in row.why


@pytest.mark.parametrize(
    ("capabilities", "euid", "status"), [(2**41 - 1, 0, "works"), (1 << 6 | 1 << 7, 0, "works partly"), (1 << 21, 0, "no"), (0, 1000, "works")]
)  # fmt: skip
def test_privileges_with_python_prctl(monkeypatch, capabilities, euid, status):
    class Sets:
        chown = setuid = True

        def __init__(self, fails=()):
            self.fails = fails

        def __getattr__(self, name):
            raise OSError(errno.EINVAL, "no such capability")

    class Prctl:
        ALL_CAP_NAMES = ("chown", "setuid", "from_the_future")
        cap_effective = cap_permitted = cap_inheritable = capbset = Sets()

        class securebits:
            keep_caps, no_setuid_fixup, noroot = True, False, False

        @staticmethod
        def get_no_new_privs():
            return 0

    monkeypatch.setitem(sys.modules, "prctl", Prctl)
    row = machine.privileges(Fake(host=HOST._replace(capabilities=capabilities, euid=euid)))
    assert row.status == status
    assert "effective all; permitted all; inheritable all; bounding all; securebits keep_caps" in row.why
    assert ("cap-add" in row.fix) == (status != "works")


def test_privileges_without_python_prctl(monkeypatch):
    monkeypatch.setitem(sys.modules, "prctl", None)
    row = machine.privileges(Fake())
    assert row.status == "works partly"
    assert "python-prctl is not here" in row.why
    assert row.fix == "apt-get install gcc libcap-dev python3-dev; pip install 'pyjail-linux[doctor]'"


def test_a_tree_that_does_not_show_our_own_cgroup_is_told_from_a_kernel_without_it():
    inside = delegation.elsewhere("memory", "memory", "/cg/memory", "/../..", "/")
    assert "outside of this cgroup namespace" in inside.cause
    assert "umount /cg/memory && mount -t cgroup -o memory cgroup /cg/memory" in inside.fix
    other = delegation.elsewhere("", "", "/cg", "/a", "/b")
    assert other.cause == "/cg shows the cgroup /a, and this process is in /b, which is not below it"
    assert "mount -t cgroup2 cgroup2 /cg" in other.fix
    assert "mount -t cgroup -o pids cgroup /sys/fs/cgroup/pids" in delegation.unmounted("pids", True).fix
    assert delegation.unmounted("pids").fix == "mount -t cgroup2 cgroup2 /sys/fs/cgroup"


def test_io_on_a_hybrid_machine_is_bound_to_v1():
    refusal = delegation.explain("io", delegation.Situation("bound", "/cg/blkio", "/cg/blkio"))
    assert "bound to the cgroup v1 hierarchy /cg/blkio" in refusal.cause
    assert "cgroup_no_v1=all" in refusal.fix


def test_limits_above_are_named():
    from pyjail._host.machine import Missing

    class Plan:
        missing = ()

    above = (host_machine.Above("memory", 1 << 30, "/cg/memory.max"),)
    x = Fake(host=HOST._replace(above=above), default=(None, Plan))
    assert cgroups.above(x).status == "works partly"
    Plan.missing = (Missing("memory", "/cg/memory.max is 1, below what was asked", "ask for less"),)
    assert (cgroups.above(x).status, cgroups.above(x).fix) == ("no", "ask for less")
    assert cgroups.above(Fake(host=HOST._replace(above=()))).status == "works"
