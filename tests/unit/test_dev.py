"""`./dev test`: both of its parts run, whatever the first one says, and the whole fails when one did."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = """#!/bin/sh
case "$*" in *as_user*) echo part-user; exit $USER_CODE ;; *) echo part-root; exit $ROOT_CODE ;; esac
"""


@pytest.fixture
def checkout(tmp_path):
    """One whose .venv is built already, of a Python that runs no tests, on a machine where we are root."""
    for path, text in ((".venv/bin/python", PYTHON), ("bin/id", "#!/bin/sh\necho 0\n")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)
    # Its packages are not looked for, nor is anything built.
    text = (
        (ROOT / "dev")
        .read_text()
        .replace("set_up() {", "set_up() { return 0")
        .replace("cd ", "cd " + f"{tmp_path} #", 1)
    )
    (tmp_path / "dev").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("args", "root", "user", "parts", "code"),
    [((), 0, 0, 2, 0), ((), 1, 0, 2, 1), ((), 0, 1, 2, 1), ((), 1, 3, 2, 1), ((), 2, 0, 1, 2), (("-q",), 1, 0, 2, 1),
     (("tests/unit",), 1, 0, 1, 1), (("tests/unit",), 0, 1, 1, 0)],
)  # fmt: skip
def test_both_parts_run_and_are_summed_up(checkout, args, root, user, parts, code):
    env = {"PATH": f"{checkout}/bin:/usr/bin:/bin", "ROOT_CODE": str(root), "USER_CODE": str(user)}
    out = subprocess.run(
        ["sh", "dev", "test", *args], cwd=checkout, env=env, capture_output=True, text=True, check=False
    )
    assert out.returncode == code, out.stderr
    assert out.stdout.count("part-") == parts
    if parts == 2:
        said = ["passed" if not n else f"failed ({n})" for n in (root, user)]
        assert out.stdout.splitlines()[-1] == f"---- as root: {said[0]}; as uid 1000: {said[1]} ----"
