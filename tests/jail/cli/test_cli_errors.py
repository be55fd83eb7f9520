"""The command line: what cannot be understood or enforced is told in its own words, as text and as JSON."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

import pyjail
from pyjail.cli import complaint
from tests import place
from tests.jail.cli.test_cli import cli

TYPOS = [
    (["run", "--memroy", "64M", "--", "true"], "pyjail run: there is no --memroy; did you mean --memory?"),
    (["run", "--memory=64M", "--no-strct", "--", "true"], "there is no --no-strct; did you mean --no-strict?"),
    (["rnu", "--", "true"], "pyjail: there is no 'rnu'; did you mean run?"),
    (
        ["run", "--network", "lopback", "--", "true"],
        "argument --network: there is no 'lopback'; did you mean loopback?",
    ),
    (["run", "--network", "x", "--", "true"], "there is no 'x': none, loopback"),
    (["plan", "--hostnam", "x", "--", "true"], "pyjail plan: there is no --hostnam; did you mean --hostname?"),
    (["selftest", "--ony", "x"], "pyjail selftest: there is no --ony; did you mean --only?"),
    ([], "pyjail: name a command: run, "),
    (["--versoin"], "pyjail: there is no --versoin; did you mean --version?"),
    (["session", "--collect-size", "1M", "x"], "pyjail session: there is no --collect-size"),
    (["run", "--learn", "--timings", "--", "true"], "pyjail run: --timings cannot be used with --learn"),
    (
        ["run", "--learn-root", "x", "--collect", "a", "--out", "b", "--", "true"],
        "--collect cannot be used with --learn-root",
    ),
    (["run", "--language", "c", "--cwd", "/tmp", "x.c"], "--cwd cannot be used with --language"),
    (["run"], "pyjail run: name the program after --"),
    (["run", "--memory"], "argument --memory: expected one argument"),
]


@pytest.mark.parametrize(("args", "said"), TYPOS, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_a_typo_is_told_with_the_nearest(args, said):
    out = cli(*args, stdin=subprocess.DEVNULL)
    assert out.returncode == 125
    assert said in out.stderr
    assert len(out.stderr.splitlines()) == 2 and out.stderr.splitlines()[1].startswith("Try 'pyjail")


@pytest.mark.parametrize("option", ["--mem=64M", "--no-str", "--det", "--json-", "--time"])
def test_options_are_never_shortened(option):
    out = cli("run", option, "--", "true", stdin=subprocess.DEVNULL)
    assert out.returncode == 125
    assert f"there is no {option}" in out.stderr


VALUES = [
    (("--memory", "12Q"), "--memory='12Q': "), (("--cpu-time", "2x"), "--cpu-time='2x': "), (("--processes", "x"), "--processes='x': "),
    (("--processes", "²"), "--processes='²': a whole number"), (("--cpus", "x"), "--cpus='x': "), (("--collect-size", "0"), "--collect-size='0': "),
    (("--env", "x"), "--env='x': NAME=VALUE is needed"), (("--bind", "a:b:c:d"), "--bind='a:b:c:d': SRC[:DST][:rw]"),
    (("--bind", "/usr", "--bind", "/usr"), "--bind='/usr': "), (("--hostname", ""), "--hostname='': "),
    (("--bind", "/no/such"), "--bind='/no/such': there is no such"), (("--cpu-time", "0"), "--cpu-time='0': "),
    (("--language", "pyton"), "--language='pyton': "),
    (("--file", "nope.py"), "--file='nope.py': No such file or directory"), (("--file", "/dev/null"), "--file='/dev/null': a regular file or"), (("--file", "/"), "--file='/': "),
    (("--config", "nope.toml"), "--config='nope.toml': No such file or directory"), (("--cwd", "a\0b"), None),
    (("--config", __file__), f"--config={__file__!r}: is not TOML: "),
]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "said"), [v for v in VALUES if v[1]], ids=lambda v: " ".join(v) if isinstance(v, tuple) else ""
)
def test_a_value_that_makes_no_sense_is_said_of_its_option(args, said):
    out = cli("run", *args, "--", "true", stdin=subprocess.DEVNULL)
    assert out.returncode == 125
    assert out.stderr.startswith(f"pyjail: {said}"), out.stderr
    assert len(out.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "code", "type_"),
    [(["--memory", "12Q", "--", "true"], 125, "SpecError"), (["--", "no-such-program"], 127, "ProgramNotFoundError"),
     (["--", "/usr"], 126, "ProgramPermissionError"), (["--cwd", "/none", "--", "true"], 125, "CwdNotFoundError"),
     (["--nonsense"], 125, "UsageError"), ([], 125, "UsageError"), (["--config", "nope", "--", "true"], 125, "SpecError")],
)  # fmt: skip
def test_with_json_an_error_is_json_too(args, code, type_):
    out = cli("run", "--json", *args, stdin=subprocess.DEVNULL)
    assert out.returncode == code
    error = json.loads(out.stdout)["error"]
    assert (error["kind"], error["type"], error["exit_code"]) == ("error", type_, code)
    assert error["message"] in out.stderr


def test_a_fifo_is_no_file_to_wait_for(tmp_path):
    os.mkfifo(tmp_path / "f")
    out = cli("run", "--file", f"{tmp_path}/f", "--", "true", stdin=subprocess.DEVNULL)
    assert (out.returncode, out.stderr) == (
        125,
        f"pyjail: --file='{tmp_path}/f': a regular file or a directory is needed\n",
    )


def test_json_after_the_program_s_name_is_the_program_s():
    out = cli("run", "--", "no-such-program", "--json", stdin=subprocess.DEVNULL)
    assert (out.returncode, out.stdout) == (127, "")


@pytest.mark.skipif(place.CGROUPS, reason=place.ELSEWHERE)
def test_what_cannot_be_enforced_is_told_with_the_option_to_do_without():
    out = cli("plan", "--", "true")  # so that `cli` adds nothing
    assert out.returncode == 0
    out = cli("session", "-", input='[{"command": "true"}]')
    assert out.returncode == 125
    assert "--no-strict" in out.stderr and "--memory none" in out.stderr
    assert "Jail(" not in out.stderr and "Limits(" not in out.stderr


def test_hints_name_options():
    error = pyjail.HostError(
        "memory",
        "no cgroup",
        "run as root; or do without: Limits(open_files=None), or Jail(strict=False) and look at the receipt",
    )
    assert complaint.text(error).endswith(
        "run as root; or do without: --open-files none, or --no-strict and look at the receipt"
    )
    error = pyjail.HostError("proc", "masked", "Jail(proc=False); or unmask it; or Jail(seccomp='none')")
    missing = pyjail.ProgramNotFoundError(
        "exec", 0, "cannot execute './a'", 2, "there is no ./a in /box; files= brings files in"
    )
    assert complaint.text(missing).endswith("there is no ./a in /box; --file brings files in")
    wrong = pyjail.SpecError("cpus", 99.0, "this machine has 2 CPUs; None is no limit")
    assert complaint.text(wrong) == '--cpus=99.0: this machine has 2 CPUs; "none" is no limit'
    assert complaint.text(error).endswith("proc = false in [jail] of a --config file; or unmask it; or --seccomp none")


def test_a_source_that_does_not_compile_is_a_compile_error(tmp_path):
    (tmp_path / "x.c").write_text("int main( {")
    out = cli("run", "--json", "--language", "c", str(tmp_path / "x.c"), stdin=subprocess.DEVNULL)
    said = json.loads(out.stdout)
    assert (out.returncode, said["verdict"]) == (1, "compile_error")
    assert b"error" in pyjail.Result.from_dict(said["compile"]).stderr
    out = cli("run", "--language", "c", str(tmp_path / "x.c"), stdin=subprocess.DEVNULL)
    assert out.returncode == 1
    assert "pyjail: compile_error: main.c did not compile" in out.stderr


STEPS = [
    ('[[steps]]\ncommand = "true"\n[[steps]]\ncmd = "x"\n', "step 2: ", "did you mean 'command'"),
    ('[[steps]]\ncommand = "true"\ntimeout = "soon"\n', "step 1: ", "timeout='soon'"),
    ('[[steps]]\ncommand = "true"\ntimeout = -1\n', "step 1: ", "timeout=-1"),
    ('[[steps]]\nstdin = "x"\n', "step 1: ", "command=None: is missing"),
    ('[[steps]]\ncommand = "true"\nargs = ["x"]\n', "step 1: ", "did you mean 'command'"),
    ("[[stepps]]\ncommand = 'x'\n", "", "did you mean 'steps'"),
]


@pytest.mark.parametrize(("text", "where", "said"), STEPS)
def test_a_step_that_makes_no_sense_is_told_by_file_and_number(tmp_path, text, where, said):
    (tmp_path / "s.toml").write_text(text)
    out = cli("session", *([] if place.CGROUPS else ["--no-strict"]), f"{tmp_path}/s.toml")
    assert out.returncode == 125
    assert out.stderr.startswith(f"pyjail: {tmp_path}/s.toml: {where}"), out.stderr
    assert said in out.stderr
    assert len(out.stderr.splitlines()) == 1
