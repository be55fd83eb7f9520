"""The wing of suites that need other frameworks: what each environment has, and that nothing else collects them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import own
from tests.integrations import environments

ROOT = Path(__file__).resolve().parents[2]
PROJECT = """
[project]
dependencies = ["cffi"]
[project.optional-dependencies]
a-b = ["framework>=1"]
c = ["numbers", "cffi"]
"""


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    for name in ("a_b", "none", "not_tests"):
        (tmp_path / "tests/integrations" / name).mkdir(parents=True)
        (tmp_path / "tests/integrations" / name / ("test_x.py" if name != "not_tests" else "x.py")).touch()
    return tmp_path


def test_each_folder_with_tests_is_a_suite(checkout):
    assert environments.names(checkout) == ["a_b", "none"]


def test_an_environment_has_our_packages_those_of_the_extra_of_that_name_and_what_is_listed(checkout):
    pytests = list(environments.ALWAYS)
    assert environments.requirements("none", checkout) == ["cffi", *pytests]
    listed = checkout / "tests/integrations/a_b/requirements.txt"
    listed.write_text("# why\npyjail-linux[c, a-b]\nplugin==2  # for its suite\n\n")
    assert environments.requirements("a_b", checkout) == ["cffi", *pytests, "framework>=1", "numbers", "plugin==2"]
    listed.write_text("pyjail-linux[d]")
    with pytest.raises(KeyError):
        environments.requirements("a_b", checkout)


def test_a_suite_that_is_not_there_is_told_with_those_that_are():
    out = subprocess.run(
        [sys.executable, "-m", "tests.integrations", "nope"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (out.returncode, out.stdout) == (os.EX_USAGE, "")
    assert out.stderr.startswith("no such suite: nope; there are:")


@pytest.mark.parametrize(("name", "collected"), [(None, False), ("other", False), ("these", True)])
def test_they_are_collected_in_their_own_environment_alone(tmp_path, name, collected):
    test = tmp_path / "integrations/these/test_x.py"
    test.parent.mkdir(parents=True)
    test.write_text("def test_x(): pass")
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    env = {k: v for k, v in os.environ.items() if k not in ("PYJAIL_TEST_INTEGRATION", "PYTEST_ADDOPTS")}
    out = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "--confcutdir", str(tmp_path),
         "-c", "/dev/null", str(tmp_path)],
        cwd=ROOT, env=env | ({"PYJAIL_TEST_INTEGRATION": name} if name else {}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ("1 passed" in out.stdout) == collected, out.stdout + out.stderr
    assert ("no tests ran" in out.stdout) != collected


def test_they_belong_to_no_part_of_the_other_tests():
    assert Path(__file__) in own(ROOT / "tests")
    assert not [path for path in own(ROOT / "tests") if ROOT / "tests/integrations" in path.parents]
