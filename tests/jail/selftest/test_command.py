"""`pyjail selftest`: exit codes, rows and documents; ended half-way, it leaves nothing."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

import pyjail
from tests import place
from tests.conftest import SLOW
from tests.jail.selftest.checks import NAME, OPTIONS, not_in_a_guest
from tests.scripts import until

pytestmark = pytest.mark.timeout(1200)


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
