"""What an interpreter is asked for is checked before anything is started."""

from __future__ import annotations

import sys

import pytest

import pyjail
from pyjail import Interpreter, Jail, SpecError
from pyjail.interpreter import Display, _packages, with_packages
from pyjail.interpreter._heard import Heard


@pytest.mark.parametrize(
    ("options", "field"),
    [({"jail": 1}, "jail"), ({"limits": 1}, "limits"), ({"box": 1}, "box"), ({"timeout": -1}, "timeout"), ({"grace": None}, "grace"),
     ({"figures": "png"}, "figures"), ({"figures": ("gif",)}, "figures"), ({"max_output": None}, "max_output"), ({"max_result": 0}, "max_result"),
     ({"env": 1}, "env"), ({"packages": "numpy"}, "packages"), ({"packages": ["./x"]}, "packages"), ({"packages": ["git+https://x"]}, "packages"),
     ({"packages": ["-e", "x"]}, "packages"), ({"packages": ["--index-url=x"]}, "packages"), ({"packages": ["a @ file:///x"]}, "packages"),
     ({"packages": ["a\n-e ."]}, "packages"), ({"packages": [1]}, "packages"), ({"packages": ["x.tar.gz/"]}, "packages")],
    ids=repr,
)  # fmt: skip
def test_what_makes_no_sense_is_said(options, field):
    with pytest.raises(SpecError) as e:
        Interpreter(**options)
    assert e.value.field == field


@pytest.mark.parametrize("code", [None, b"1", 5, "x" * (17 << 20)])
def test_a_cell_is_text(code):
    with pytest.raises(SpecError, match="code"):
        Interpreter().run(code)


def test_names_with_versions_are_requirements():
    names = ["numpy", "numpy==2.1", "a[b, c] >=1, <2", "x.y-z_1~=1.0", "a!=1.*"]
    assert _packages.requirements(names) == ("a!=1.*", "a[b,c]>=1,<2", "numpy", "numpy==2.1", "x.y-z_1~=1.0")


def test_a_jail_with_a_wheelhouse_tells_pip_of_it(tmp_path):
    tmp_path.chmod(0o700)
    with pytest.raises(SpecError, match="chmod"):
        with_packages(wheelhouse=tmp_path)
    tmp_path.chmod(0o755)
    jail = with_packages(Jail(env={"PYTHONPATH": "/mine"}), wheelhouse=tmp_path)
    assert jail.mounts == (pyjail.Mount.bind(str(tmp_path), "/wheelhouse"),)
    assert (jail.env["PIP_NO_INDEX"], jail.env["PIP_FIND_LINKS"]) == ("1", "/wheelhouse")
    assert jail.env["PYTHONPATH"] == "/mine:/box/.packages"
    with pytest.raises(SpecError, match="pip wheel"):
        with_packages(wheelhouse=tmp_path / "nowhere")
    with pytest.raises(SpecError, match="rootfs"):
        with_packages(Jail(rootfs="/r"), ["numpy"])


def test_the_interpreter_is_the_jails_own_or_this_one():
    assert _packages.interpreter(Jail(), None) == sys.executable
    assert _packages.interpreter(Jail(python="/usr/bin/python3"), None) == "/usr/bin/python3"
    assert _packages.interpreter(Jail(rootfs="/r"), None) == "python3"
    assert _packages.interpreter(Jail(rootfs="/r"), "/opt/python") == "/opt/python"


def test_output_is_kept_to_its_bound_and_told_as_it_comes():
    told = []
    heard = Heard(5, told.append)
    for piece in (b"ab\xc3", b"\xa9\xff", b"cd"):
        heard.stdout.take(piece)
    heard.stderr.take(b"\xc3")
    heard.close()
    assert told == ["ab", "é�"] and heard.logs().stdout == ("ab", "é�") and heard.logs().stderr == ("�",)
    assert heard.cut((3, 99)) == ("stdout: 2 bytes, after the first 5", "results: 3, of 99 bytes")


def test_a_program_that_writes_byte_by_byte_makes_no_million_of_pieces():
    heard = Heard(1 << 20)
    for _ in range(20_000):
        heard.stdout.take(b"\n")
    heard.close()
    pieces = heard.logs().stdout
    assert len(pieces) < 5000 and "".join(pieces) == "\n" * 20_000


def test_a_form_as_a_file_has_it():
    shown = Display(text="é", png="aGk=", json={"a": 1})
    assert (shown.raw("text"), shown.raw("png")) == ("é".encode(), b"hi")
    for name in ("html", "json", "cut", "nope"):
        with pytest.raises(KeyError):
            shown.raw(name)
