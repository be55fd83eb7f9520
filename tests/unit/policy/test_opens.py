"""`lint` of a jail: what it opens that the default one keeps shut."""

from __future__ import annotations

import os
import pickle
import sys
import types

import pytest

import pyjail
from pyjail import (
    Jail,
    JailWarning,
    Mount,
    SeccompPolicy,
    lint,
)
from pyjail._host import machine

FOUND = {
    "a writable bind": (Jail(mounts=(Mount.bind("/srv", "/out", ro=False),)), "mounts", "/srv to write"),
    "the host": (Jail(mounts=(Mount.bind("/", "/host"),)), "mounts", "/"),
    "configuration": (Jail(mounts=(Mount.bind("/etc", "/e"),)), "mounts", "/etc"),
    "a home": (Jail(mounts=(Mount.bind(os.path.expanduser("~"), "/h"),)), "mounts", os.path.expanduser("~")),
    "the kernel": (Jail(mounts=(Mount.bind("/sys/fs", "/s"),)), "mounts", "/sys/fs"),
    "a socket": (Jail(mounts=(Mount.bind("/opt/x/docker.sock", "/d"),)), "mounts", "/opt/x/docker.sock"),
    "packages": (Jail(python="/usr/bin/python3"), "python", "what is installed for /usr/bin/python3"),
    "a secret": (Jail(env={"PATH": "/bin", "OPENAI_API_KEY": "x"}), "env", "OPENAI_API_KEY"),
    "all of /proc": (Jail(proc="full"), "proc", "/proc/stat, /proc/sys and the like"),
    "a fence": (Jail(landlock=False), "landlock", "files by path"),
}


@pytest.mark.parametrize("name", FOUND)
def test_an_opening_is_told_with_its_field(name):
    jail, field, opens = FOUND[name]
    found = [w for w in lint(jail) if isinstance(w, JailWarning)]
    assert (field, os.path.realpath(opens) if opens.startswith("/") and " " not in opens else opens) in [
        (w.field, w.opens) for w in found
    ]
    warning = found[0]
    assert isinstance(warning, pyjail.PolicyWarning) and warning.why
    assert str(pickle.loads(pickle.dumps(warning))) == str(warning)


def test_the_default_jail_and_harmless_binds_open_nothing():
    for jail in (
        Jail(strict=True),
        Jail(strict=True, mounts=(Mount.bind("/usr/share/dict", "/words"), Mount.tmpfs("/x", "1M"))),
    ):
        assert lint(jail) == []


def test_a_jails_filter_is_part_of_it():
    assert [w.call for w in lint(Jail(strict=True, seccomp=SeccompPolicy(allow=("ptrace",))))] == ["ptrace"]
    assert [w.call for w in lint(Jail(strict=True, seccomp="none"))] == ["*"]


def test_an_embedder_in_a_system_directory_is_told_that_every_jail_reads_it(monkeypatch):
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    hidden = tuple({*machine.host().hidden, "/usr/src"})
    monkeypatch.setattr(machine, "host", lambda: machine.probe(os.getpid())._replace(hidden=hidden))
    for place, told in (
        ("/usr/local/app", True),
        ("/usr/src/app", False),
        ("/usr/local/bin", False),
        ("/srv/app", False),
    ):
        main.__file__ = f"{place}/main.py"
        assert [w.opens for w in lint(Jail(strict=True))] == ([place] if told else []), place


def test_a_bind_that_holds_the_embedder_itself_is_told(tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    (warning,) = [
        w for w in lint(Jail(strict=True, mounts=(Mount.bind(tmp_path, "/x"),))) if isinstance(w, JailWarning)
    ]
    assert f"the program that makes the jail lies in it ({project})" in warning.why
