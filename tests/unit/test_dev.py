"""`./dev`: both parts of `test` run, whatever the first one says, and the whole fails when one did; `build`; `--quick`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = """#!/bin/sh
case "$*" in
    "-c import setuptools"*) exit 0 ;;
    *setup.py*) echo part-build; exit $ROOT_CODE ;;
    *as_user*) echo part-user; exit $USER_CODE ;;
    *) echo part-root "$@"; exit $ROOT_CODE ;;
esac
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


def dev(checkout, *args, root=0, user=0):
    env = {"PATH": f"{checkout}/bin:/usr/bin:/bin", "ROOT_CODE": str(root), "USER_CODE": str(user)}
    return subprocess.run(["sh", "dev", *args], cwd=checkout, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [0, 1])
def test_the_quick_one_is_one_part_of_unit_tests_and_promises(checkout, code):
    out = dev(checkout, "test", "--quick", "-x", root=code)
    assert out.returncode == code, out.stderr
    (line,) = out.stdout.splitlines()
    assert line.startswith("part-root -m pytest") and line.endswith(" -x tests/unit tests/jail/test_promises.py")


@pytest.mark.parametrize("code", [0, 1])
def test_a_build_that_fails_is_told_and_done_again_the_next_time(checkout, code):
    out = dev(checkout, "build", root=code)
    assert out.returncode == code, out.stderr
    assert ("built " in out.stderr) == (not code)
    assert (checkout / ".venv/stamp-native").exists() == (not code)


def test_without_a_task_all_are_listed(checkout):
    listed = {line.split()[0] for line in dev(checkout).stdout.splitlines()[1:]}
    assert {"build", "demo", "test", "test-vm", "lint", "bench", "soak"} <= listed


@pytest.mark.parametrize(
    ("args", "root", "user", "parts", "code"),
    [((), 0, 0, 2, 0), ((), 1, 0, 2, 1), ((), 0, 1, 2, 1), ((), 1, 3, 2, 1), ((), 2, 0, 1, 2), (("-q",), 1, 0, 2, 1),
     (("tests/unit",), 1, 0, 1, 1), (("tests/unit",), 0, 1, 1, 0)],
)  # fmt: skip
def test_both_parts_run_and_are_summed_up(checkout, args, root, user, parts, code):
    out = dev(checkout, "test", *args, root=root, user=user)
    assert out.returncode == code, out.stderr
    assert out.stdout.count("part-") == parts
    if parts == 2:
        said = ["passed" if not n else f"failed ({n})" for n in (root, user)]
        assert out.stdout.splitlines()[-1] == f"---- as root: {said[0]}; as uid 1000: {said[1]} ----"
