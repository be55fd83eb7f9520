"""`pyjail run --learn`: what it prints is a configuration that the next run is given."""

from __future__ import annotations

import json
import subprocess
import sys

from tests import place
from tests.inside import host


def cli(*args):
    args = args if place.CGROUPS else ("--no-strict", *args)
    return subprocess.run(
        [sys.executable, "-m", "pyjail", "run", *args],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_the_command_prints_a_configuration_that_works(tmp_path):
    program = ("--", "sh", "-c", "echo out | cat; echo err >&2; exit 4")
    out = cli("--learn-root", str(tmp_path / "root"), *program)
    assert (out.returncode, out.stderr) == (4, "out\nerr\n")
    assert "# SeccompPolicy(base='strict'" in out.stdout
    (tmp_path / "c.toml").write_text(out.stdout)
    again = cli("--config", str(tmp_path / "c.toml"), *program)
    assert (again.returncode, again.stdout, again.stderr) == (4, "out\n", "err\n")
    other = cli("--config", str(tmp_path / "c.toml"), "--", "sh", "-c", "ls /")
    assert other.returncode == 127  # of the shell: there is no ls
    assert "lib64 -> " in cli("--learn", "--", "true").stdout or host().arch != "x86_64"


def test_the_command_says_what_was_refused_and_in_json(tmp_path):
    refused = ("--learn", "--", "unshare", "-U", "true")
    assert "# refused: unshare, EPERM, 1 times; the program went on" in cli(*refused).stdout
    found = json.loads(cli("--json", *refused).stdout)
    assert (found["refused"][0]["call"], found["result"]["verdict"]) == ("unshare", "runtime_error")
    assert "NOT COMPLETE" in cli("--wall-time", "500ms", "--learn", "--", "sleep", "9").stdout
