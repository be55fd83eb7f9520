"""`pyjail selftest`: contained here, red where the jail is weak, and nothing left on the host."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Mount, SeccompPolicy, SeccompRule, Verdict, _host, _prepare, cli
from pyjail._result import Result
from pyjail._selftest import inside, runner
from pyjail._selftest.judge import Outcome, judge
from pyjail._selftest.report import Status
from pyjail._selftest.scene import Scene
from tests import place
from tests.conftest import SLOW
from tests.host_side import left_over, shm_segments
from tests.scripts import until

pytestmark = pytest.mark.timeout(1200)
NAME = "pyjail-selftest-"
# In an emulated guest only what depends on its cgroups.
OF_CGROUPS = ["controls", "ipc", "bombs", "limits", "namespaces.into_cgroup"]
not_in_a_guest = pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)
LIMITS_OF_CGROUPS = {"cpu_time", "cpus", "memory", "memory_peak", "processes"}


def traces() -> list[str]:
    """Everything of a selftest that can be seen on this host: its files, IPC objects, keys, processes."""
    places = [tempfile.gettempdir(), os.path.expanduser("~"), "/dev/shm", "/", "/usr", "/etc", "/var/tmp", "/dev"]
    found = [f"{p}/{n}" for p in places if os.path.isdir(p) for n in os.listdir(p) if NAME in n]
    keys = Path("/proc/keys").read_text() if os.path.exists("/proc/keys") else ""
    found += [line for line in keys.splitlines() if NAME in line]
    queues = Path("/proc/sysvipc/msg")
    found += queues.read_text().splitlines()[1:] if queues.exists() else []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if b"pyjail-canary-" in Path(f"/proc/{entry}/cmdline").read_bytes():
                found.append(entry)
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def leaves_nothing():
    pyjail.run(["true"])  # what stays open for good, is open
    pyjail.close()
    before, segments, seen = left_over(), shm_segments(), traces()
    yield
    pyjail.close()
    assert until(lambda: left_over() == before), (left_over(), before)
    assert until(lambda: shm_segments() <= segments), shm_segments()  # those of others go by themselves
    assert until(lambda: set(traces()) <= set(seen)), traces()  # the kernel collects keys a little later


def status_of(report) -> dict[str, Status]:
    return {row.name: row.status for row in (*report.rows, *report.probes)}


def escaped(report) -> set[str]:
    return {row.name for row in report.escaped}


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


# ---- it can fail ----


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


@not_in_a_guest
def test_packages_that_are_not_hidden_are_red(monkeypatch):
    host = _host.host()
    if host.python is None or not all(os.access(path, os.W_OK) for path in host.python.beside or ("/proc",)):
        pytest.skip(f"{place.ELSEWHERE}: the caller cannot write to this interpreter's packages")
    monkeypatch.setattr(_host, "host", lambda: host._replace(hidden=()))
    _prepare.look_again()
    try:
        report = pyjail.selftest(Jail(hostname="leaky"), only=["files.environment"])
    finally:
        monkeypatch.undo()
        _prepare.look_again()
        pyjail.close()
    assert escaped(report) == {"files.environment"}
    assert pyjail.selftest(only=["files.environment"]).ok


@not_in_a_guest
@pytest.mark.filterwarnings("ignore::pyjail.PolicyWarning")
def test_a_call_that_a_policy_lets_through_is_the_only_red_one():
    report = pyjail.selftest(Jail(seccomp=SeccompPolicy(allow=("inotify_init1",))), only=["kernel"])
    assert escaped(report) == {"kernel.inotify"}
    assert not report.ok


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
def test_keys_of_a_keeper_are_seen_by_its_next_run_when_there_is_no_filter():
    if not os.path.exists("/proc/keys"):
        pytest.skip("/proc/keys is missing: a kernel without keyrings")
    report = pyjail.selftest(Jail(seccomp="none"), only=["pairs.keyrings"])
    assert status_of(report)["pairs.keyrings.afterwards"] is Status.ESCAPED


@pytest.fixture
def shown_tmp(tmp_path, monkeypatch):
    """A temporary directory of its own for the canaries, so that a jail can be given it."""
    os.chmod(tmp_path, 0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return str(tmp_path)


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


@not_in_a_guest
def test_a_directory_of_the_system_bound_writable_is_not_held_against_the_user(tmp_path):
    os.chmod(tmp_path, 0o777)
    report = pyjail.selftest(Jail(mounts=[Mount.bind(tmp_path, "/srv", ro=False)]), only=["files.write_root"])
    assert report.ok
    assert list(tmp_path.iterdir()) == []


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
from pyjail.attacks.toolkit import Scene, attack, note, show
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
    from pyjail.attacks import toolkit

    monkeypatch.setattr(toolkit, "ATTACKS", {})
    monkeypatch.setattr(toolkit, "FUNCTIONS", dict(toolkit.FUNCTIONS))
    monkeypatch.setattr("pyjail._selftest.scene.secrets.token_hex", lambda n: "5" * 2 * n)
    path = tmp_path / "fakes.py"
    path.write_text(FAKES.replace("SECRET", repr(b"pyjail-canary-" + b"5" * 32)))
    spec = importlib.util.spec_from_file_location("pyjail.attacks.fakes", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "pyjail.attacks.fakes", module)
    spec.loader.exec_module(module)
    attacks = tuple(toolkit.ATTACKS.values())
    monkeypatch.setattr(runner, "catalogue", lambda: attacks)


OPTIONS = () if place.CGROUPS else ("--no-strict",)


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


# ---- the command line ----


def command(*args: str, **kw) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyjail", "selftest", *OPTIONS, *args],
        capture_output=True, text=True, timeout=100 * SLOW, check=False, **kw,
    )  # fmt: skip


@not_in_a_guest
def test_json_and_exit_codes():
    out = command("--json", "--only", "kernel.inotify", "--only", "limits.open_files")
    assert (out.returncode, out.stderr) == (0, "")
    report = json.loads(out.stdout)
    assert report["counts"] == {"contained": 2, "escaped": 0, "not applicable": 0, "error": 0}
    assert report["limits"][0]["measured"] == report["limits"][0]["asked"] == 40
    assert report["attempts"][0]["stands_for"]
    out = command("--json", "--seccomp", "none", "--only", "kernel.inotify")
    assert out.returncode == 1
    assert json.loads(out.stdout)["attempts"][0]["status"] == "escaped"
    assert json.loads(out.stdout)["jail"].startswith("Jail(seccomp='none'")


@not_in_a_guest
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--only", "nonsense"], "no such group or attempt"),
        (["--bind", "/no/such"], "no such file or directory"),
        (["--config", "/no/such.toml"], "No such file"),
        (["--nonsense"], "there is no --nonsense"),
    ],
)
def test_what_cannot_be_tested_is_125(args, said):
    out = command(*args)
    assert out.returncode == 125
    assert said in out.stderr
    assert "Traceback" not in out.stderr


@not_in_a_guest
@pytest.mark.skipif(place.CGROUPS, reason=place.ELSEWHERE)
def test_a_limit_that_cannot_be_enforced_is_refused_unless_strict_is_off():
    out = subprocess.run([sys.executable, "-m", "pyjail", "selftest"], capture_output=True, text=True, check=False)
    assert out.returncode == 125
    assert "memory cannot be enforced here" in out.stderr


@not_in_a_guest
def test_the_options_of_run_and_a_configuration_are_understood(tmp_path):
    (tmp_path / "c.toml").write_text('[jail]\nnetwork = "loopback"\n')
    out = command("--config", str(tmp_path / "c.toml"), "--fresh", "--only", "network.listen", "--only", "pairs.ports")
    assert out.returncode == 0, out.stderr
    assert 'the jail asks for network="loopback"' in out.stdout
    assert "contained       pairs.ports.at_once" in out.stdout


@not_in_a_guest
def test_a_progress_bar_on_a_terminal_and_colours_in_the_rows():
    master, slave = pty.openpty()
    args = [sys.executable, "-m", "pyjail", "selftest", *OPTIONS, "--only", "kernel.inotify"]
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm-256color"}
    with subprocess.Popen(args, stdin=slave, stdout=slave, stderr=slave, env=env) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:
                break
            shown += data
    os.close(master)
    assert process.returncode == 0
    assert b"0/1" in shown
    assert b"\x1b[32mcontained" in shown


@not_in_a_guest
def test_a_terminated_selftest_leaves_nothing(tmp_path):
    args = [sys.executable, "-m", "pyjail", "selftest", *OPTIONS]
    with subprocess.Popen(args, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL) as process:
        assert until(lambda: list(tmp_path.glob(NAME + "*")), 30)
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


@not_in_a_guest
def test_an_interrupted_selftest_leaves_nothing(shown_tmp):
    def interrupt(done: int, total: int, name: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pyjail.selftest(only=["files"], progress=interrupt)
    assert os.listdir(shown_tmp) == []


# ---- other jails ----


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
