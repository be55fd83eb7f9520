"""Packages: wheels alone, resolved outside without running anything, shared read-only; pip inside, from a wheelhouse."""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import tarfile
import zipfile

import pytest

import pyjail
from pyjail import Interpreter, Jail, SpecError
from pyjail.interpreter import with_packages
from tests import place
from tests.conftest import SLOW

here = pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)  # pip takes minutes in an emulated guest


def wheel(directory, name, version, source, requires=()):
    """A wheel of one module."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {r}\n" for r in requires
    )
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }

    def line(path, text):
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        return f"{path},sha256={digest},{len(text)}\n"

    record = "".join(line(path, text) for path, text in files.items()) + f"{info}/RECORD,,\n"
    path = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name_in, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name_in, text)
    path.chmod(0o644)
    return path


def sdist(directory, name, version, marker):
    """A source whose setup.py leaves a mark when it is run."""
    files = {
        "setup.py": f"open({str(marker)!r}, 'w').write('ran')\nfrom setuptools import setup\nsetup(name={name!r}, version={version!r}, py_modules=[])\n",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    path = directory / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{file}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    path.chmod(0o644)
    return path


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = tmp_path / "wheels"
    made.mkdir()
    made.chmod(0o755)
    wheel(made, "thing", "1.0", "import other\nvalue = other.value + 1\n", ["other>=2"])
    wheel(made, "thing", "1.1", "value = 'newer'\n")
    wheel(made, "other", "2.5", "value = 41\n")
    return made


def test_packages_and_what_they_need_can_be_imported_and_not_be_changed(house, tmp_path):
    with Interpreter(packages=["thing==1.0"], wheelhouse=house) as python:
        assert python.run("import thing; thing.value").text == "42"
        assert (
            python.run("import subprocess, sys; subprocess.run([sys.executable, '-c', 'import thing']).returncode").text
            == "0"
        )
        assert python.run("open(thing.__file__, 'w')").error.name in ("OSError", "PermissionError")
        assert python.run("open('/packages/new.py', 'w')").error.name in ("OSError", "PermissionError")
    first = with_packages(packages=["thing==1.0"], wheelhouse=house)
    for one in house.iterdir():
        one.unlink()  # it is there already: nothing is resolved again
    assert with_packages(packages=["thing==1.0"], wheelhouse=house) == first
    (bound,) = [m.src for m in first.mounts if m.dst == "/packages"]
    assert bound.startswith(str(tmp_path / "cache/pyjail/packages/")) and len(bound.rpartition("/")[2]) == 64


@here
def test_what_is_not_pinned_is_resolved_anew_and_the_same_wheels_are_the_same_directory(house):
    jail = with_packages(packages=["thing"], wheelhouse=house)
    assert with_packages(packages=["thing>=1"], wheelhouse=house).mounts == jail.mounts
    wheel(house, "thing", "1.2", "value = 'newest'\n")
    with Interpreter(packages=["thing"], wheelhouse=house) as python:
        assert python.run("import thing; thing.value").text == "'newest'"


@here
def test_a_source_is_refused_with_the_fix_and_nothing_of_it_is_run(house, tmp_path):
    marker = tmp_path / "marker"
    source = sdist(house, "evil", "1.0", marker)
    with pytest.raises(SpecError, match="pip wheel") as e:
        with_packages(packages=["evil==1.0"], wheelhouse=house)
    assert e.value.field == "packages" and not marker.exists()
    wheel(house, "front", "1.0", "", [f"evil @ file://{source}"])
    with pytest.raises(SpecError, match="pip wheel"):
        Interpreter(packages=["front"], wheelhouse=house).start()
    assert not marker.exists()


@here
def test_a_name_that_is_nowhere_is_told_with_what_pip_says(house):
    with pytest.raises(SpecError, match="No matching distribution found for nowhere"):
        Interpreter(packages=["nowhere"], wheelhouse=house).run("1")


def test_pip_inside_takes_wheels_of_the_house_alone(house):
    with Interpreter(Jail(python=sys.executable), wheelhouse=house) as python:
        r = python.run("!pip install thing==1.0\nimport thing\nthing.value")
        assert r.text == "42", r.logs
        r = python.run("import os; os.system('pip install nowhere') != 0")
        assert r.text == "True" and "No matching distribution found for nowhere" in "".join(r.logs.stderr)
        python.restart()
        assert python.run("import thing; thing.__file__").text == "'/box/.packages/thing.py'"


@here
def test_a_box_that_is_there_has_its_packages_from_its_jail(house):
    with pyjail.Box(with_packages(packages=["other"], wheelhouse=house)) as box:
        with Interpreter(box=box) as python:
            assert python.run("import other; other.value").text == "41"
        assert box.run(["true"]).ok  # it is the caller's
        with pytest.raises(SpecError, match="with_packages"):
            Interpreter(box=box, packages=["other"])
