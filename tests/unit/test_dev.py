"""`./dev`: all parts of `test` run, whatever the first one says, and the whole fails when one did; `build`; `--quick`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import chosen

ROOT = Path(__file__).resolve().parents[2]
PYTHON = """#!/bin/sh
case "$*" in
    "-m tests.together"*) export PYTHONPATH=ROOT; exec PYTHON "$@" ;;
    "-c import setuptools"*) exit 0 ;;
    *setup.py*) echo part-build; exit $ROOT_CODE ;;
    *as_user*) echo part-user "$@"; exit $USER_CODE ;;
    *--part=[2-8]/8*) echo part-more "$@"; exit $MORE_CODE ;;
    *) echo part-root "$@"; exit $ROOT_CODE ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """One whose .venv is built already, of a Python that runs no tests, on a machine where we are root."""
    python = PYTHON.replace("ROOT", str(ROOT), 1).replace("exec PYTHON", f"exec {sys.executable}")
    for path, text in ((".venv/bin/python", python), ("bin/id", "#!/bin/sh\necho 0\n")):
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


def dev(checkout, *args, root=0, more=0, user=0):
    codes = {"ROOT_CODE": str(root), "MORE_CODE": str(more), "USER_CODE": str(user)}
    env = {"PATH": f"{checkout}/bin:/usr/bin:/bin", **codes}
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
    ("args", "codes", "code"),
    [((), (0, 0, 0), 0), ((), (1, 0, 0), 1), ((), (0, 2, 0), 2), ((), (0, 0, 1), 1), (("-q",), (1, 3, 4), 4), (("--all",), (0, 0, 0), 0)],
)  # fmt: skip
def test_all_parts_run_at_the_same_time_and_are_summed_up(checkout, args, codes, code):
    root, more, user = codes
    out = dev(checkout, "test", *args, root=root, more=more, user=user)
    assert out.returncode == code, out.stderr
    assert [out.stdout.count(f"\npart-{name} ") for name in ("root", "more", "user")] == [1, 7, 1]
    names = ("as uid 1000 (", *(f"as root, {n} of 8" for n in range(1, 9)))
    for line, name, one in zip(out.stdout.splitlines()[-9:], names, (user, root, *[more] * 7), strict=True):
        assert line.startswith(f"---- {name}") and (f": failed ({one}) in " if one else ": passed in ") in line
    parts = [line for line in out.stdout.splitlines() if line.startswith("part-")]
    assert all(word in part for part in parts for word in args)
    assert any("part-user" in part and (" tests/jail " in part) == ("--all" in args) for part in parts)


@pytest.mark.parametrize("code", [0, 1])
def test_a_choice_of_tests_runs_once(checkout, code):
    out = dev(checkout, "test", "-q", "tests/unit", root=code)
    assert (out.returncode, out.stdout) == (code, "part-root -m pytest -q tests/unit\n"), out.stderr


def test_the_parts_of_a_whole_are_all_of_it(tmp_path):
    files = [tmp_path / f"{n}" for n in range(7)]
    for n, path in enumerate(files):
        path.write_text("x" * (n % 3))
    parts = [chosen(files, f"{k}/3") for k in (1, 2, 3)]
    assert sorted(p for part in parts for p in part) == files
    with pytest.raises(pytest.UsageError):
        chosen(files, "4/3")


def test_an_interrupt_reaches_all_that_runs_together_and_what_they_said_is_shown(tmp_path):
    code = "import pathlib, sys, time; print('begun', flush=True); pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
    parts = [("a", tmp_path / "1"), ("b", tmp_path / "2")]
    command = [[name, sys.executable, "-c", code, str(path)] for name, path in parts]
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.together", *command[0], "---", *command[1]],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not all(path.exists() for _, path in parts):
        time.sleep(0.01)
    started.send_signal(signal.SIGINT)
    said, _ = started.communicate()
    assert started.returncode == 130
    assert said.count("begun") == 2 and said.count("KeyboardInterrupt") == 2


@pytest.mark.parametrize(("at_once", "most"), [("1", 1), ("2", 2), ("9", 4)])
def test_no_more_run_at_once_than_was_said_and_all_do(tmp_path, at_once, most):
    code = f"""
import os, sys, time
name = sys.argv[1][-3]
os.mkdir("a" + name)
print(sum(n[0] == "a" for n in os.listdir()))
while len(os.listdir()) < {most}: time.sleep(0.01)  # as many as may be come; one more would, too
time.sleep(0.3)
os.rename("a" + name, "b" + name)
"""
    out = subprocess.run(
        [sys.executable, "-m", "tests.together", "--at-once", at_once, "--parts", "4", "x", sys.executable, "-c", code],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    assert [n[0] for n in os.listdir(tmp_path)] == ["b"] * 4
    assert max(int(line.rpartition(" ")[2]) for line in out.stdout.splitlines() if line.isdigit()) <= most


def test_what_failed_is_named_again_at_the_end():
    said = "print('FAILED a.py::b - it is so\\nfine'); raise SystemExit({})"
    parts = [["one", sys.executable, "-c", said.format(1)], ["two", sys.executable, "-c", said.format(0)]]
    out = subprocess.run(
        [sys.executable, "-m", "tests.together", *parts[0], "---", *parts[1]],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert out.returncode == 1
    *_, named, one, two = out.stdout.splitlines()
    assert named == "FAILED a.py::b - it is so" and "one: failed (1)" in one and "two: passed" in two
    assert out.stdout.count("FAILED") == 3


FLAKY = """
import os, sys
tests = sys.argv[1:]
only = os.environ.get("PYJAIL_TEST_ONLY")
print("ran", only)
if only is None or "always" in only:
    print(*(f"FAILED {test} - it is so" for test in tests), sep="\\n")
    raise SystemExit(1)
"""


@pytest.mark.parametrize(
    ("tests", "code"),
    [
        (["tests/a.py::x[a b]"], 0), (["tests/a.py::x", "tests/a.py::y"], 0), (["tests/a.py::always"], 1),
        (["tests/a.py::x", "tests/a.py::y", "tests/a.py::z"], 1), (["tests/escape/a.py::x"], 1), ([], 1),
    ],
)  # fmt: skip
def test_few_that_fail_run_once_more_and_are_told_in_any_case(tests, code):
    parts = [["one", sys.executable, "-c", FLAKY, *tests], ["two", sys.executable, "-c", "print('fine')"]]
    out = subprocess.run(
        [sys.executable, "-m", "tests.together", "--again", "2", *parts[0], "---", *parts[1]],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert out.returncode == code, out.stdout
    lines = out.stdout.splitlines()
    assert [f"FAILURE then SUCCESS: {test}" in lines for test in tests] == [code == 0] * len(tests)
    assert all(f"FAILED {test} - it is so" in lines for test in tests)


def test_those_that_run_once_more_are_no_others():
    only = "tests/unit/test_dev.py::test_what_failed_is_named_again_at_the_end"
    out = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_dev.py"],
        cwd=ROOT, env={**os.environ, "PYJAIL_TEST_ONLY": only}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert out.returncode == 0 and out.stdout.splitlines()[-1].startswith("1 passed"), out.stdout


def test_every_test_that_is_chosen_by_name_is_there():
    from tests.vm.__main__ import QUICK, WHOLE

    chosen_by_name = re.findall(r"tests/[\w/.]*\w", (ROOT / "dev").read_text())
    chosen_by_name += [*WHOLE, *(path for paths in QUICK.values() for path in paths)]
    for path, _, name in (each.partition("::") for each in chosen_by_name):
        assert (ROOT / path).exists(), path
        assert f"def {name}(" in (ROOT / path).read_text() if name else True, (path, name)
    assert len(chosen_by_name) > 30
