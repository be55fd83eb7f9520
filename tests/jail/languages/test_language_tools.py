"""Where the tools of a language are looked for, and who is told when they are missing."""

from __future__ import annotations

import os
import re

import pytest

import pyjail
from pyjail import Jail, languages
from pyjail.languages import Language
from tests.jail.languages.judging import judge


def test_a_missing_tool_is_told_with_its_package():
    gone = Language(
        "gone", run=("gonec", "{source}"), source="x", tools={"gonec": "-v", "sh": "-c"}, package="gone-compiler"
    )
    assert not languages.available(gone)
    assert languages.version(gone) is None
    with pytest.raises(pyjail.HostError, match="gone-compiler"):
        languages.jail_for(gone)
    with pytest.raises(pyjail.HostError) as e:
        judge("", [("", "")], language=gone)
    assert (e.value.control, e.value.hint) == ("language", "apt-get install gone-compiler")
    assert "gonec" in e.value.cause
    assert "sh" not in e.value.cause.split()


def test_an_installation_that_the_jail_does_not_see_is_mounted(tmp_path):
    tool = tmp_path / "inst/bin/mytool"
    tool.parent.mkdir(parents=True)
    tool.write_text('#!/bin/sh\n[ "$1" = --version ] && echo \'mytool 4.5.6\' || { echo mine; cat "$1"; }\n')
    tool.chmod(0o755)
    for directory in (tool.parent, tool.parents[1]):
        directory.chmod(0o755)
    mine = Language(
        "mine",
        run=("mytool", "{source}"),
        source="x",
        tools={"mytool": "--version"},
        prefix=("echo", str(tmp_path / "inst")),
    )
    assert languages.version(mine) == "4.5.6"
    for jail in (None, Jail(env={"A": "b", "PATH": "/usr/bin"})):
        with pyjail.Session(languages.jail_for(mine, jail)) as session:
            assert (
                session.run(["sh", "-c", "mytool --version; echo $A"], text=True).stdout.split()[2:]
                == ["b"][jail is None :]
            )
    assert judge("text", [("", "mine text")], language=mine).passed
    compiled = Language(
        "compiled", run=("sh", "-c", "ls " + str(tmp_path / "inst") + "; cat a"), source="x", tools={"mytool": "--version"},
        prefix=mine.prefix, compile=("sh", "-c", "mytool {source} > a"), artefacts=("a",),
    )  # fmt: skip
    judged = judge("text", [("", "mine text")], language=compiled)
    assert judged.passed
    assert b"No such file" in judged.results[0].result.stderr  # the program itself does not need it, nor see it


@pytest.mark.parametrize("where", ["~", "~/.local", "/", "~/..", "/no/such/place"])
def test_what_is_the_users_own_is_never_mounted(where):
    text = os.path.expanduser(where)
    mine = Language("mine", run=("notool", "{source}"), source="x", tools={"notool": "-v"}, prefix=("echo", text))
    assert not languages.available(mine)


def test_a_root_without_a_shell(tmp_path, cc):
    binary = cc("int main() { return 0; }", "-static")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/only").write_bytes(binary.read_bytes())
    (tmp_path / "bin/only").chmod(0o755)
    for directory in (tmp_path, tmp_path / "bin"):
        directory.chmod(0o755)
    jail = Jail(rootfs=tmp_path)
    only = Language("only", run=("only",), source="x", tools={"only": "-v"}, package="only")
    assert languages.available(only, jail)
    assert judge("", [("", "")], language=only, jail=jail).passed
    with pytest.raises(pyjail.HostError, match=re.escape(f"apt-get install python3 in {tmp_path}")):
        judge("", [("", "")], jail=jail)


def test_variables_and_files_of_the_callers_jail_are_there():
    jail = Jail(hostname="judge", env={"PATH": "/usr/bin:/bin", "MINE": "x"})
    judged = judge("import os, socket; print(os.environ['MINE'], os.uname().nodename)", [("", "x judge")], jail=jail)
    assert judged.passed, judged.results[0].result
