"""A selftest can fail: it is red where a jail is weak, and where there is none."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Mount, Result, SeccompPolicy, Verdict, cli
from pyjail._selftest import inside, interpreter, runner
from pyjail._selftest.judge import Outcome, judge
from pyjail._selftest.report import Status
from pyjail._selftest.scene import Scene
from tests import place
from tests.conftest import SLOW
from tests.inside import another_host, host
from tests.jail.selftest.checks import OPTIONS, escaped, not_in_a_guest, status_of

pytestmark = pytest.mark.timeout(1200)


def test_without_a_filter_kernel_surface_is_red():
    found = escaped(pyjail.selftest(Jail(seccomp="none"), only=["kernel", "namespaces", "mounts", "processes.typing"]))
    expected = {"inotify", "leases", "filters", "page_cache", "numa", "clock", "socket_options", "raw_sockets"}
    expected |= {"flushes", "requests", "cookies"}
    assert {f"kernel.{n}" for n in expected} | {"namespaces.into_cgroup", "mounts.list_mounts", "mounts.mount"} <= found
    assert "processes.typing" in found
    if Path("/proc/sys/user/max_user_namespaces").read_text() != "0\n":
        assert {"namespaces.new_user", "namespaces.root_in_a_user_namespace"} <= found
    if os.path.exists("/proc/keys"):
        assert "kernel.keyrings" in found


def test_a_root_that_shows_where_it_lies_and_one_whose_files_have_changed_are_red(monkeypatch):
    def weak(self):
        root = self.scene.files.root
        return interpreter.find(Jail(rootfs=root, mounts=(Mount.bind(f"{root}/deep", "/deep"),)), runner.LIMITS)

    monkeypatch.setattr(runner._Selftest, "written", property(weak))
    assert escaped(pyjail.selftest(only=["written"])) == {"written.below"}
    with Scene(Jail()) as scene:
        below = scene.files.root
        Path(f"{below}/deep/in/it").write_text("changed")
        os.mkfifo(f"{below}/deep/pipe")
        assert scene.changes() == [f"{below}/deep/in/it was changed", f"{below}/deep/pipe was made"]
        assert scene.changes() == []


@not_in_a_guest
def test_packages_that_are_not_hidden_are_red():
    python = host().python
    if python is None or not all(os.access(path, os.W_OK) for path in python.beside or ("/proc",)):
        pytest.skip(f"{place.ELSEWHERE}: the caller cannot write to this interpreter's packages")
    with another_host(hidden=()):
        report = pyjail.selftest(Jail(hostname="leaky"), only=["files.environment"])
    assert escaped(report) == {"files.environment"}
    assert pyjail.selftest(only=["files.environment"]).ok


@not_in_a_guest
@pytest.mark.filterwarnings("ignore::pyjail.PolicyWarning")
def test_a_call_that_a_policy_lets_through_is_the_only_red_one():
    report = pyjail.selftest(Jail(seccomp=SeccompPolicy(allow=("inotify_init1",))), only=["kernel"])
    assert escaped(report) == {"kernel.inotify"}
    assert not report.ok


@not_in_a_guest
def test_keys_of_a_keeper_are_seen_by_its_next_run_when_there_is_no_filter():
    if not os.path.exists("/proc/keys"):
        pytest.skip("/proc/keys is missing: a kernel without keyrings")
    report = pyjail.selftest(Jail(seccomp="none"), only=["pairs.keyrings"])
    assert status_of(report)["pairs.keyrings.afterwards"] is Status.ESCAPED


@not_in_a_guest
def test_a_bind_of_the_directory_where_the_canaries_are_is_red(shown_tmp):
    found = escaped(pyjail.selftest(Jail(mounts=[Mount.bind(shown_tmp)]), only=["files"]))
    assert {"files.host_tmp", "files.climbing", "files.symlinks"} <= found
    assert "files.write_canary" not in found
    found = escaped(pyjail.selftest(Jail(mounts=[Mount.bind(shown_tmp, ro=False)]), only=["files", "network"]))
    assert {"files.host_tmp", "files.write_canary", "network.path_socket"} <= found


@not_in_a_guest
def test_a_read_only_bind_that_is_not_is_red(monkeypatch):
    monkeypatch.setattr(runner.Mount, "bind", staticmethod(lambda src, dst: Mount("bind", dst, src, False)))
    found = escaped(pyjail.selftest(only=["bound"]))
    assert {"bound.write", "bound.descriptor"} <= found


# Harmless for a host, too: only the canaries are touched, and nothing stays changed.
UNJAILED = [
    "files.host_tmp", "files.host_home", "files.climbing", "files.write_canary", "processes.signal_host",
    "processes.descriptors", "processes.limits", "processes.scheduling", "proc.host_process", "proc.list_processes",
    "proc.environment", "namespaces.new_user", "namespaces.join", "namespaces.into_cgroup", "privileges.personality",
    "kernel.bpf", "kernel.perf", "kernel.clock", "kernel.filters", "kernel.inotify", "kernel.leases",
    "kernel.numa", "kernel.page_cache", "kernel.quota", "kernel.socket_families", "kernel.socket_options",
    "kernel.flushes", "kernel.requests", "kernel.cookies",
    "network.loopback", "network.datagram", "network.abstract", "network.path_socket", "network.listen",
    "ipc.sysv", "ipc.posix_shm", "ipc.output_back",
]  # fmt: skip
OF_ROOT = [
    "files.private_files", "files.write_root", "files.write_system_files", "proc.init", "proc.settings",
    "privileges.groups", "privileges.other_ids", "privileges.priority", "kernel.names", "kernel.swap",
    "kernel.accounting", "kernel.reboot", "kernel.fanotify", "ipc.cgroup_files", "processes.memory",
]  # fmt: skip


@not_in_a_guest
@pytest.mark.parametrize("name", [*UNJAILED, *(pytest.param(n, marks=pytest.mark.needs_root) for n in OF_ROOT)])
def test_without_any_jail_an_attempt_succeeds(name):
    attack = next(a for a in runner.catalogue() if a.name == name)
    token = inside.new_token()
    with Scene(Jail()) as scene:
        args = inside.job(name, attack.module, scene.inside(sys.executable), token)
        out = subprocess.run([sys.executable, *args], capture_output=True, timeout=60 * SLOW, check=False, cwd="/")
        result = Result(args, out.returncode, Verdict.OK, out.stdout, out.stderr, exit_code=out.returncode)
        outcome = Outcome(result, token, scene.changes(), [], scene.leaked, dict(os.environb))
        assert judge(attack, outcome)[0] is Status.ESCAPED, out
        assert scene.changes() == []  # it was put right


FAKES = """
from pyjail._selftest.attacks.toolkit import Scene, attack, note, show
@attack("succeeds", "a fake")
def success(scene: Scene) -> None: note("it", 0)
@attack("tells what it cannot know", "a fake")
def knows(scene: Scene) -> None: show("nowhere", SECRET)
@attack("breaks", "a fake")
def breaks(scene: Scene) -> None: raise ValueError("broken")
@attack("is killed", "a fake")
def killed(scene: Scene) -> None: __import__("os").kill(__import__("os").getpid(), 9)
"""


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Attempts that escape, or fail, instead of the real ones."""
    from pyjail._selftest.attacks import toolkit

    monkeypatch.setattr(toolkit, "ATTACKS", {})
    monkeypatch.setattr(toolkit, "FUNCTIONS", dict(toolkit.FUNCTIONS))
    monkeypatch.setattr("pyjail._selftest.scene.secrets.token_hex", lambda n: "5" * 2 * n)
    path = tmp_path / "fakes.py"
    path.write_text(FAKES.replace("SECRET", repr(b"pyjail-canary-" + b"5" * 32)))
    spec = importlib.util.spec_from_file_location("pyjail._selftest.attacks.fakes", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "pyjail._selftest.attacks.fakes", module)
    spec.loader.exec_module(module)
    attacks = tuple(toolkit.ATTACKS.values())
    monkeypatch.setattr(runner, "catalogue", lambda: attacks)


@not_in_a_guest
@pytest.mark.parametrize(
    ("name", "status"), [("success", "escaped"), ("knows", "escaped"), ("breaks", "error"), ("killed", "error")]
)
def test_one_escape_or_error_makes_the_exit_code_1(fakes, capsys, name, status):
    old = signal.getsignal(signal.SIGTERM)
    try:
        assert cli.main(["selftest", *OPTIONS, "--only", f"fakes.{name}"]) == 1
    finally:
        signal.signal(signal.SIGTERM, old)
    out = capsys.readouterr().out
    assert f"{status:<14}  fakes.{name}" in out
    assert "\x1b" not in out
