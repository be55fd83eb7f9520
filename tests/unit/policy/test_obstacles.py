"""What a failed step means on a machine like this one: the cause, and the fix."""

from __future__ import annotations

from errno import EACCES, EINVAL, EMFILE, ENOENT, ENOSPC, EPERM

from pyjail._host import machine
from pyjail._policy import obstacles, writable
from pyjail._policy.mounts import MountRow


def test_no_mounts_in_a_namespace_that_could_be_made_is_apparmor_where_it_is_loaded():
    host = machine.host()._replace(apparmor=True, seccomp=False)
    for step, index in (("private", 1), ("mount", 3)):
        found = obstacles.find(step, index, EACCES, host)
        assert found.control == "mounts"
        assert "apparmor_restrict_unprivileged_userns=0" in found.fix
    assert "AppArmor" in obstacles.find("private", 0, EPERM, host).cause


def test_no_memfd_and_a_noexec_package():
    found = obstacles.find("keeper_exec", None, EACCES, machine.host())
    assert "vm.memfd_noexec" in found.cause


def test_who_gets_no_user_namespace_to_show_a_root_by_is_told_why():
    host = machine.host()._replace(seccomp=False, apparmor=False, namespaces_off=("user",), userns_clone=-1)
    assert "max_user_namespaces is 0" in obstacles.find("idmap", 3, ENOSPC, host).cause
    assert "chroot" in obstacles.find("idmap", 3, EPERM, host).cause
    row = MountRow("bind", "box", "", "/srv/root", data=b"0 0")
    assert writable.obstacle("idmap", row, EPERM) is None
    assert "/proc" in writable.obstacle("idmap", row, ENOENT).cause
    assert "/srv/root shows its files under no other id: EINVAL" in writable.obstacle("source", row, EINVAL).cause
    assert writable.obstacle("source", row, EMFILE) is None


def test_a_root_of_an_owner_that_is_not_there_is_refused_before_anything_is_started():
    host = machine.host()._replace(euid=0, capabilities=2**41 - 1, uid_ranges=((0, 1000),), kernel="6.12.0")
    assert writable.refusals(host, (0, 0)) == []
    assert [m.control for m in writable.refusals(host, (65530, 65530))] == ["writable_root"]
