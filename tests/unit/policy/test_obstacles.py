"""What a failed step means on a machine like this one: the cause, and the fix."""

from __future__ import annotations

from errno import EACCES, EPERM

from pyjail._host import machine
from pyjail._policy import obstacles


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
