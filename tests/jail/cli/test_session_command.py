"""``pyjail session``: steps from a file, in one /box."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from tests import place

STEPS = """
[[steps]]
command = "cat > a; cat given; echo err >&2"
stdin = "in"
[[steps]]
command = ["sh", "-c", "cat a; exit 3"]
[[steps]]
command = "echo $A; pwd"
env = { A = "b", PATH = "/usr/bin:/bin" }
cwd = "/tmp"
[[steps]]
command = "echo x > a"
read_only = true
[[steps]]
command = ["no-such-program"]
[[steps]]
command = "true"
"""


def session(*args: str, **kw) -> subprocess.CompletedProcess[str]:
    if not place.CGROUPS:
        args = ("--no-strict", *args)
    kw = {"stdin": subprocess.DEVNULL} | kw if "input" not in kw else kw
    return subprocess.run(
        [sys.executable, "-m", "pyjail", "session", *args],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        **kw,
    )


@pytest.fixture
def steps(tmp_path):
    (tmp_path / "given.txt").write_text("given\n")
    (tmp_path / "s.toml").write_text(STEPS)
    return tmp_path


def test_steps_share_a_box(steps):
    out = session("--file", f"{steps}/given.txt:given", f"{steps}/s.toml")
    assert out.stdout == "given\ninb\n/tmp\n"
    assert out.stderr.startswith("err\n")
    assert "no-such-program" in out.stderr
    assert out.returncode == 127  # the last that failed, not the last


def test_json(steps):
    out = session("--json", "--file", f"{steps}/given.txt:given", f"{steps}/s.toml")
    found = json.loads(out.stdout)["steps"]
    assert [a["exit_code"] for a in found] == [0, 3, 0, 2, 127, 0]
    assert found[1]["stdout"] == "in"
    assert found[1]["result"]["verdict"] == "runtime_error"
    assert found[4]["result"] is None
    assert out.stderr == ""


def test_stop_and_limits(steps):
    (steps / "s.json").write_text(json.dumps([{"command": "sleep 50", "timeout": "200ms"}, {"command": "echo never"}]))
    out = session("--stop", str(steps / "s.json"))
    assert (out.returncode, out.stdout) == (124, "")
    assert "step 1: wall_time" in out.stderr


def test_standard_input_takes_both():
    assert session("-", input='[{"command": "echo json"}]').stdout == "json\n"
    assert session("-", input='{"steps": [{"command": "echo json"}]}').stdout == "json\n"
    assert session("-", input='[[step]]\ncommand = "echo toml"\n').stdout == "toml\n"


def test_a_disk_of_its_own_and_a_configuration(steps):
    (steps / "c.toml").write_text('[jail]\nhostname = "fromfile"\ndeterministic = true\n[limits]\nprocesses = 3\n')
    text = '[[steps]]\ncommand = "uname -n; echo $TZ; head -c 3000000 /dev/zero > big"\n'
    (steps / "d.toml").write_text(text)
    out = session("--config", f"{steps}/c.toml", "--disk", "1M", f"{steps}/d.toml")
    assert out.stdout == "fromfile\nUTC\n"
    assert out.returncode != 0
    assert "No space left" in out.stderr


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("s.toml", "[[stepps]]\n", "stepps"), ("s.toml", "steps = 5", "list"), ("s.json", "{", "JSON"), ("s.toml", "x", "TOML"),
        ("s.toml", '[[steps]]\ncomand = "x"\n', "did you mean 'command'"), ("s.json", "[5]", "mapping"),
        ("s.toml", '[[steps]]\ncommand = "true"\n[[steps]]\ncommand = "x"\ntimeout = "soon"\n', "timeout"),
    ],
)  # fmt: skip
def test_a_file_that_makes_no_sense(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    out = session(str(tmp_path / name))
    assert out.returncode == 125
    assert words in out.stderr
    assert "Traceback" not in out.stderr


def test_usage():
    assert session().returncode == 125
    assert session("/no/such/file").returncode == 125


def test_progress_is_for_terminals(tmp_path):
    (tmp_path / "s.toml").write_text('[[steps]]\ncommand = "sleep 2; echo done"\n')
    ours, theirs = pty.openpty()
    more = [] if place.CGROUPS else ["--no-strict"]
    out = subprocess.run(
        [sys.executable, "-m", "pyjail", "session", *more, str(tmp_path / "s.toml")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, check=True, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 10000)
    os.close(ours)
    assert out.stdout == b"done\n"
    assert b"[1/1] sh -c" in shown
    assert shown.endswith(b"\r\x1b[K")
