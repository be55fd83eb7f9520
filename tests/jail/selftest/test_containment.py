"""Everything is contained here, in all kinds of jails; what cannot be tried is said not to be applicable."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

import pyjail
from pyjail import Jail, Mount, SeccompPolicy, SeccompRule
from pyjail._selftest.report import Status
from tests import place
from tests.conftest import SLOW
from tests.jail.selftest.checks import escaped, not_in_a_guest, status_of

pytestmark = pytest.mark.timeout(1200)

# In an emulated guest only what depends on its cgroups.
OF_CGROUPS = ["controls", "ipc", "bombs", "limits", "namespaces.into_cgroup"]
LIMITS_OF_CGROUPS = {"cpu_time", "cpus", "memory", "memory_peak", "processes"}


def test_everything_is_contained_here():
    report = pyjail.selftest(only=OF_CGROUPS if SLOW > 1 else None)
    assert [
        (r.name, r.detail) for r in (*report.rows, *report.probes) if r.status in (Status.ESCAPED, Status.ERROR)
    ] == []
    assert report.ok
    assert len([r for r in report.rows if r.status is Status.CONTAINED]) >= (20 if SLOW > 1 else 100)
    exact = {"output kept", "output counted", "disk", "inodes", "file_size", "open_files"}
    if place.CGROUPS:
        exact |= {"processes"}
        assert {p.name for p in report.probes if p.status is Status.CONTAINED} >= LIMITS_OF_CGROUPS
    else:
        assert {p.name for p in report.probes if p.status is Status.NOT_APPLICABLE} == LIMITS_OF_CGROUPS
    assert {p.name: p.deviation for p in report.probes if p.name in exact} == dict.fromkeys(exact, 0)
    for probe in report.probes:
        if probe.name in ("cpu_time", "wall_time") and probe.measured is not None:
            assert probe.measured >= probe.asked  # never too early


@not_in_a_guest
def test_a_root_that_may_be_written_to_is_attacked_in_every_kind_of_jail(tmp_path, monkeypatch):
    """On a directory of the selftest's own; and in a jail that has one itself, in which only that is not asked."""
    of_group = {"change", "left_over", "by_descriptor", "forge", "channels", "remount", "below"}
    mine = tmp_path / "root"
    (mine / "etc").mkdir(parents=True)
    (mine / "etc/file").write_text("x")
    for jail in (Jail(), Jail(seccomp="strict"), Jail(rootfs=mine), Jail(rootfs=mine, writable_root="16M")):
        report = pyjail.selftest(jail, only=["written"])
        assert {r.name: r.status for r in report.rows} == {
            f"written.{name}": Status.CONTAINED for name in of_group
        }, report.rows  # fmt: skip
    (tmp_path / "theirs").mkdir(mode=0o777)
    (tmp_path / "theirs").chmod(0o777)
    (tmp_path / "theirs/file").write_text("x")
    (tmp_path / "theirs/file").chmod(0o666)
    shared = (
        Mount.bind(tmp_path / "theirs", "/srv/theirs", False),
        Mount.bind(tmp_path / "theirs/file", "/etc/one", False),
    )
    assert pyjail.selftest(Jail(rootfs=mine, writable_root="16M", mounts=shared), only=["written"]).ok
    assert (tmp_path / "theirs/file").read_text() == "x" and os.listdir(tmp_path / "theirs") == ["file"]
    report = pyjail.selftest(Jail(rootfs=mine, writable_root="16M"), only=["files", "mounts", "bound", "proc", "ipc"])
    assert report.ok, report.escaped
    assert status_of(report)["files.write_system_files"] is Status.NOT_APPLICABLE
    assert [p.name for p in mine.rglob("*")] == ["etc", "file"] and (mine / "etc/file").read_text() == "x"


@not_in_a_guest
def test_an_errno_of_the_users_own_policy_is_a_refusal_of_that_call_only():
    policy = SeccompPolicy(refuse=("inotify_init1",), errno="EBADF", rules=(SeccompRule("quotactl", "EINVAL"),))
    assert pyjail.selftest(Jail(seccomp=policy), only=["kernel"]).ok


@not_in_a_guest
def test_a_known_limit_is_said_to_be_one():
    row = next(r for r in pyjail.selftest(only=["pairs.locks"]).rows if r.name == "pairs.locks.at_once")
    assert row.status is Status.NOT_APPLICABLE
    assert "ADR 0005" in row.detail


@not_in_a_guest
def test_a_directory_of_the_system_bound_writable_is_not_held_against_the_user(tmp_path):
    os.chmod(tmp_path, 0o777)
    report = pyjail.selftest(Jail(mounts=[Mount.bind(tmp_path, "/srv", ro=False)]), only=["files.write_root"])
    assert report.ok
    assert list(tmp_path.iterdir()) == []


@not_in_a_guest
def test_a_root_file_system_without_python_is_given_one(tmp_path):
    os.chmod(tmp_path, 0o755)
    report = pyjail.selftest(Jail(rootfs=tmp_path), only=["files", "mounts", "limits.open_files", "integrity"])
    assert report.ok, escaped(report)
    assert report.count(Status.CONTAINED) > 15
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("jail", "only", "reason"),
    [
        (Jail(proc=False), "proc.sysrq", "this jail has no /proc"),
        (Jail(uid=0, gid=0), "privileges.become_root", "the jail asks for uid 0"),
        (Jail(), "pairs.ports", "this jail has no network"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_means_nothing_in_a_jail_is_not_applicable_with_the_reason(jail, only, reason):
    report = pyjail.selftest(replace(jail, strict=place.CGROUPS), only=[only])
    assert [(r.status, r.detail) for r in report.rows] == [(Status.NOT_APPLICABLE, reason)]
    assert report.ok


@not_in_a_guest
def test_a_strict_filter_ends_attempts(tmp_path):
    report = pyjail.selftest(Jail(seccomp="strict"), only=["kernel.bpf", "namespaces", "pairs", "bombs.forks"])
    assert report.ok
    assert status_of(report)["pairs.locks.at_once"] is Status.CONTAINED
    assert "the filter ended the run at bpf" in {r.detail for r in report.rows}


@not_in_a_guest
def test_a_work_directory_of_the_user_is_not_filled(tmp_path):
    os.chmod(tmp_path, 0o777)
    jail = Jail(mounts=[Mount.bind(tmp_path, "/box", ro=False)])
    report = pyjail.selftest(
        jail, only=["bombs.disk", "limits.disk", "files.collected_symlink", "privileges.setuid_copy"]
    )
    assert {r.status for r in (*report.rows, *report.probes)} == {Status.NOT_APPLICABLE}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("only", ["files", ["nonsense"], [1]])
def test_names_that_mean_nothing_are_refused(only):
    with pytest.raises(pyjail.SpecError, match="only"):
        pyjail.selftest(only=only)
