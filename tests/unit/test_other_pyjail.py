"""Another distribution has the import name pyjail: what is left of ours says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail

SRC = Path(pyjail.__file__).parent


@pytest.fixture
def site(tmp_path):
    shutil.copytree(SRC, tmp_path / "pyjail", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def python(site, *args):
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *args], env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("removed", [False, True], ids=["overwritten", "removed"])
@pytest.mark.parametrize(
    "args",
    [["-m", "pyjail", "--version"], ["-m", "pyjail", "run", "--", "true"], ["-c", "import pyjail.aio"],
     ["-c", "from pyjail.grading import run_tests"], ["-c", "import pyjail.cgroup"], ["-OO", "-c", "import pyjail.languages"]],
    ids=" ".join,
)  # fmt: skip
def test_what_is_left_of_ours_names_the_other_one_and_the_fix(site, args, removed):
    init = site / "pyjail/__init__.py"
    init.unlink()
    if not removed:
        init.write_text("from .main import Jail\n")
        (site / "pyjail/main.py").write_text("class Jail: pass\n")
    out = python(site, "-S", *args)  # without site-packages: there is one of ours, too
    assert out.returncode != 0
    assert "ImportError: the file pyjail/__init__.py of pyjail-linux was overwritten" in out.stderr
    assert "pip uninstall -y pyjail" in out.stderr


@pytest.mark.parametrize("flag", ["-B", "-OO"])
def test_ours_is_ours(site, flag):
    out = python(site, flag, "-m", "pyjail", "--version")
    assert out.stdout == f"pyjail {pyjail.__version__}\n", out.stderr
