"""The command line: exit codes, --json, plan, configuration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

import pyjail
from tests import place


def cli(*args: str, **kw) -> subprocess.CompletedProcess[str]:
    if not place.CGROUPS and args and args[0] == "run":
        args = ("run", "--no-strict", *args[1:])
    return subprocess.run(
        [sys.executable, "-m", "pyjail", *args], capture_output=True, text=True, timeout=100, check=False, **kw
    )


EXITS = [
    (["--", "true"], 0), (["--", "sh", "-c", "exit 7"], 7), (["--", "sh", "-c", "kill -11 $$"], 139),
    (["--wall-time", "200ms", "--", "sleep", "9"], 124), (["--cpu-time", "0.2s", "--", "sh", "-c", "while :; do :; done"], 124),
    pytest.param(["--memory", "16M", "--", "sh", "-c", "head -c 40000000 /dev/zero > /tmp/x"], 124, marks=pytest.mark.needs_cgroups),
    (["--", "/no/such/program"], 127), (["--", "/usr"], 126), (["--memory", "0", "--", "true"], 125), (["--nonsense"], 125),
    ([], 125), (["--memory", "12Q", "--", "true"], 125), (["--cpu-time", "2x", "--", "true"], 125), (["--cwd", "/none", "--", "true"], 125),
    (["--bind", "/no/such", "--", "true"], 125), (["--env", "x", "--", "true"], 125), (["--cpus", "x", "--", "true"], 125),
]  # fmt: skip


@pytest.mark.parametrize(("args", "code"), EXITS, ids=lambda v: " ".join(v) if isinstance(v, list) else str(v))
def test_exit_codes(args, code):
    out = cli("run", *args, stdin=subprocess.DEVNULL)
    assert out.returncode == code, out.stderr
    assert "Traceback" not in out.stderr
    if code >= 124 and code < 128:
        assert "pyjail" in out.stderr


def test_streams_go_through():
    out = cli("run", "--", "sh", "-c", "cat; echo err >&2", input="in\n")
    assert (out.stdout, out.stderr) == ("in\n", "err\n")


def test_json_is_the_whole_result(tmp_path):
    (tmp_path / "f").write_text("data")
    os.chmod(tmp_path, 0o755)
    out = cli(
        "run",
        "--json",
        "--file",
        f"{tmp_path}/f:sub/g",
        "--env",
        "A=b",
        "--bind",
        f"{tmp_path}:/m",
        "--",
        "sh",
        "-c",
        "cat sub/g /m/f; echo $A",
        stdin=subprocess.DEVNULL,
    )
    result = pyjail.Result.from_dict(json.loads(out.stdout))
    assert (result.stdout, result.verdict) == (b"datadatab\n", pyjail.Verdict.OK)
    assert result.receipt["memory"].status == ("enforced" if place.CGROUPS else "not_enforced")


def test_config_file(tmp_path):
    (tmp_path / "c.toml").write_text('[jail]\nhostname = "fromfile"\n[limits]\nprocesses = 3\n')
    out = cli(
        "run",
        "--config",
        str(tmp_path / "c.toml"),
        "--json",
        "--open-files",
        "50",
        "--",
        "uname",
        "-n",
        stdin=subprocess.DEVNULL,
    )
    result = pyjail.Result.from_dict(json.loads(out.stdout))
    assert (result.stdout, result.limits.processes, result.limits.open_files) == (b"fromfile\n", 3, 50)
    (tmp_path / "c.toml").write_text("[limits]\nmemroy = 5\n")
    out = cli("run", "--config", str(tmp_path / "c.toml"), "--", "true")
    assert out.returncode == 125
    assert "memory" in out.stderr
    assert cli("run", "--config", str(tmp_path / "none"), "--", "true").returncode == 125


def test_plan_shows_the_steps_and_changes_nothing():
    before = os.listdir("/sys/fs/cgroup") if os.path.isdir("/sys/fs/cgroup") else []
    out = cli("plan", "--seccomp", "strict", "--memory", "64M", "--", "python3", "x.py")
    assert out.returncode == 0, out.stderr
    for text in ("mount", "pivot", "landlock", "seccomp allow", "67108864", "/usr/bin/python3", "TIOCSTI"):
        assert text in out.stdout, text
    steps = json.loads(cli("plan", "--json", "--", "true").stdout)["steps"]
    assert steps[-1]["step"] == "exec"
    assert (os.listdir("/sys/fs/cgroup") if os.path.isdir("/sys/fs/cgroup") else []) == before


def test_version_and_help():
    assert cli("--version").stdout == f"pyjail {pyjail.__version__}\n"
    told = " ".join(cli("run", "--help").stdout.split())
    assert "124 when a limit did" in told
    assert "--cpu-time TIME CPU time of all its processes together; default 10s" in told
    assert all(shown in told for shown in ("default 256M", "default 64 ", "default 1.0", "default none"))


@pytest.mark.parametrize(
    "args",
    [["plan", "--", "true"], ["doctor"], ["languages", "--no-strict", "c"], ["run", "--no-strict", "--json", "--", "true"],
     ["selftest", "--no-strict", "--only", "kernel.bpf"]],
    ids=lambda args: args[0],
)  # fmt: skip
def test_a_reader_that_wants_no_more_is_no_failure_of_ours(args):
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-m", "pyjail", *args]
        out = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=100, check=False)
    finally:
        os.close(write)
    assert (out.returncode, out.stderr) == (128 + signal.SIGPIPE, "")


def test_a_full_disk_is_told():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "pyjail", "plan", "--no-strict", "--", "true"]
        out = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=100, check=False)
    assert (out.returncode, out.stderr) == (125, "pyjail: cannot write what is printed: No space left on device\n")


def test_cpus_by_number():
    cpu = min(os.sched_getaffinity(0))
    assert json.loads(cli("run", "--no-strict", "--json", "--cpus", f"{cpu},", "--", "true").stdout)["limits"][
        "cpus"
    ] == [cpu]
    out = cli("run", "--cpus", ",", "--", "true")
    assert (out.returncode, out.stderr) == (125, "pyjail: --cpus=',': a whole number is needed\n")


def test_timings():
    out = cli("run", "--timings", "--", "true", stdin=subprocess.DEVNULL)
    assert "wall_time" in out.stderr
    columns = {line.split()[1]: line.split()[2:] for line in out.stderr.splitlines() if len(line.split()) > 2}
    assert columns["µs"] == ["this", "run", "cold", "armed"]
    assert {"modules", "host", "keeper_exec", "setup", "program", "teardown", "result", "total", "next"} <= set(columns)
    first, cold, armed = (int(us) for us in columns["program"][:3])
    assert min(first, cold, armed) > 0


def test_timings_change_nothing_about_the_run():
    out = cli("run", "--timings", "--json", "--", "sh", "-c", "echo x; exit 3")
    assert out.returncode == 3 and json.loads(out.stdout)["stdout"] == {"bytes": "x\n"}
    out = cli("run", "--timings", "--wall-time", "100ms", "--", "sleep", "60")
    assert out.returncode == 124 and "wall_time: cpu" in out.stderr
    out = cli("run", "--timings", "--", "/nonexistent")
    assert out.returncode == 127 and "total" not in out.stderr
    out = cli("run", "--timings", "--fresh", "--", "echo", "x")
    assert out.stdout == "x\n" and "armed" not in out.stderr.splitlines()[4]


def test_a_cap_on_output_holds_on_the_command_line_too():
    out = cli("run", "--output", "10", "--", "sh", "-c", "yes; exit 3")
    assert (out.returncode, out.stdout) == (124, "y\n" * 5)


def test_a_closed_stdout_is_no_traceback():
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "pyjail", "run", "--no-strict"]
    out = subprocess.run([*closed, "--", "sh", "-c", "echo x; exit 4"], capture_output=True, text=True, check=False)
    assert (out.returncode, out.stderr) == (4, "")
