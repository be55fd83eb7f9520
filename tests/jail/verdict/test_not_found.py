"""A program that is not found: what exactly is missing, and what brings it in."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import pyjail
from pyjail import File, Jail, Mount, Session


def said(*args: str, **options: object) -> str:
    with pytest.raises(pyjail.ProgramNotFoundError) as e:
        pyjail.run(list(args), **options)
    return e.value.hint


@pytest.mark.parametrize(
    ("args", "options", "hint"),
    [
        (["./a.out"], {}, "there is no ./a.out in /box; files= brings files in"),
        (["bin/../a.out"], {}, "there is no bin/../a.out in /box; files= brings files in"),
        (["./a.out"], {"cwd": "/tmp"}, "there is no ./a.out in /tmp"),
        (["/box/a"], {}, "there is no /box/a; files= brings files in"),
        (["/usr/bin/no-such"], {}, "there is no /usr/bin/no-such in this jail"),
        (["no-such"], {}, "it is in no directory of the jail's PATH"),
        (
            ["f"],
            {"files": {"f": File("", 0o755)}},
            "it is in no directory of the jail's PATH; ./f runs the file in /box",
        ),
        (
            ["./f"],
            {"files": {"f": File("#!/no/sh -e\nx", 0o755)}},
            "its #! line names '/no/sh', which is not in the jail",
        ),
        (
            ["./f"],
            {"files": {"f": File("#!/bin/sh\r\n", 0o755)}},
            "its #! line names '/bin/sh\\r' (it ends in a carriage return), which is not in the jail",
        ),
    ],
)
def test_what_is_missing_is_said(args, options, hint):
    assert said(*args, **options).replace("\r", "\\r") == hint


def test_what_this_host_has_and_the_jail_does_not_is_said_with_the_way_to_show_it(tmp_path, monkeypatch):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    (tmp_path / "sub").mkdir()
    show = f"Mount.bind({str(tool)!r}) shows it"
    if not str(tmp_path).startswith(("/tmp/", "/dev/shm/")):
        assert said(str(tool)) == f"there is no {tool} in this jail; this host has it: {show}"
        dotted = f"{tmp_path}/sub/../tool"
        assert said(dotted) == f"there is no {dotted} in this jail; this host has it: {show}"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert said("tool").endswith(f"the caller's leads to {tool}: {show}, to be run by that path")
    assert pyjail.run([str(tool)], jail=Jail(mounts=(Mount.bind(tool),))).ok


def test_in_a_session_what_is_in_box_is_not_known():
    with (
        Session() as s,
        pytest.raises(pyjail.ProgramNotFoundError, match=r"there is no \./a in /box, or what its #! line"),
    ):
        s.run(["./a"])


def test_scripts_of_a_bind_are_read_for_what_they_need(tmp_path):
    script = tmp_path / "script"
    script.write_text(f"#!{sys.prefix}/bin/no-such-python\n")
    script.chmod(0o755)
    hint = said("/opt-script", jail=Jail(mounts=(Mount.bind(script, "/opt-script"),)))
    assert hint == f"its #! line names '{sys.prefix}/bin/no-such-python', which is not in the jail"


def test_a_python_that_is_the_callers_own_is_said_with_the_field_that_brings_it(tmp_path, monkeypatch):
    own = tmp_path / "python3.99"
    own.symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert said("python3.99").endswith(f"Jail(python={str(own)!r}) puts the caller's there")
    command = [sys.executable, "-m", "pyjail", "run", "--no-strict", "--", "python3.99"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert out.returncode == 127
    assert f"--python {own} puts the caller's there" in out.stderr
