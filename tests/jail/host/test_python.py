"""`Jail(python=)`: which Python is python3 inside, and whose packages it has."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Mount, SpecError, grading
from tests.conftest import QUICK, SLOW
from tests.jail.host.projects import SECRET, SYSTEM_PYTHON, environment, installation, needs_system_python, project

WHERE = "import sys; print(sys.prefix, sys.executable)"


def of(python: object, code: str, program: str = "python3", **options: object) -> str:
    """What a program prints that `program` runs in a jail with this interpreter."""
    jail = options.pop("jail", None) or Jail(python=str(python))
    r = pyjail.run([program, "-c", code], QUICK, jail=jail, text=True, **options)
    return r.stdout if r.ok else f"{r.verdict} {r.stderr}"


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An environment in a project, with a package and an editable install of the project."""
    return project(tmp_path)


def test_python3_and_python_are_that_one_with_its_packages(python):
    code = "import settings, package; print(settings.VALUE)"
    for program in ("python3", "python", f"python3.{sys.version_info[1]}", str(python)):
        assert of(python, code, program) == SECRET + "\n"
    assert of(python, "import subprocess; print(subprocess.run(['sh', '-c', 'command -v python3'], capture_output=True, text=True).stdout)").strip() == "/python/bin/python3"  # fmt: skip


def test_it_is_first_in_path_whatever_the_environment_says(python):
    code = "import os, settings; print(os.environ['PATH'])"
    assert of(python, code) == "/python/bin:/usr/local/bin:/usr/bin:/bin\n"
    assert of(python, code, env={}) == "/python/bin:/usr/local/bin:/usr/bin:/bin\n"
    assert of(python, code, env={"PATH": "/usr/bin"}) == "/python/bin:/usr/bin\n"
    assert of(python, code, jail=Jail(python=python, env={"PATH": "/bin"})) == "/python/bin:/bin\n"


def test_nothing_else_of_its_project_comes_with_it(python):
    """Neither what an editable install or a .pth file points to, nor scripts of the environment."""
    top = python.parents[2]
    r = pyjail.run(["find", str(top)], QUICK, jail=Jail(python=python), text=True)
    seen = {line.removeprefix(f"{top}/.venv/") for line in r.stdout.splitlines()}
    site = f"lib/python3.{sys.version_info[1]}/site-packages"
    outside = {s for s in seen if not s.startswith(site) and s not in (str(top), f"{top}/.venv")}
    stem = f"python3.{sys.version_info[1]}"
    assert outside <= {"bin", "bin/python", "bin/python3", f"bin/{stem}", "pyvenv.cfg", "lib", f"lib/{stem}", "lib64"}
    assert of(python, "import judge").rstrip().endswith("ModuleNotFoundError: No module named 'judge'")
    shown = Jail(python=python, mounts=(Mount.bind(top / "src"),))
    assert of(python, "import judge; print(judge.VALUE)", jail=shown) == SECRET + "\n"  # by its .pth


def test_a_jail_without_it_sees_no_packages_and_python3_is_the_systems(python):
    assert "No module named 'settings'" in of(python, "import settings", jail=Jail())
    if SYSTEM_PYTHON.exists():
        assert of(python, WHERE, jail=Jail()).split()[0] in ("/usr", "/usr/local")


@needs_system_python
@pytest.mark.parametrize("options", [(), ("--system-site-packages",)])
def test_an_environment_sees_its_bases_packages_only_when_it_is_made_so(tmp_path, options):
    base = installation(tmp_path / "base")
    name = SYSTEM_PYTHON.resolve().name
    inner = environment(tmp_path / "venv", *options, base=base)
    r = pyjail.run(["ls", str(tmp_path / "base/lib" / name / "site-packages")], QUICK, jail=Jail(python=inner))
    assert r.stdout == (b"secret.py\n" if options else b"") or (not r.ok and not options)


@needs_system_python
def test_an_installation_comes_with_its_own_packages_and_a_conda_environment_with_its_libraries(tmp_path):
    base = installation(tmp_path / "base")
    listing = f"import os; print(sorted(os.listdir({str(tmp_path / 'base/lib')!r})))"
    name = SYSTEM_PYTHON.resolve().name
    packages = f"import os; print(os.listdir({str(tmp_path / 'base/lib' / name / 'site-packages')!r}))"
    assert of(base, packages) == "['secret.py']\n"
    assert of(base, listing) == f"['{name}']\n"
    (tmp_path / "base/conda-meta").mkdir()
    pyjail.close()
    assert of(base, listing, jail=Jail(python=base, hostname="conda")) == f"['{name}', 'secret.txt']\n"
    assert "'tool'" not in of(base, f"import os; print(os.listdir({str(tmp_path / 'base/bin')!r}))")


@needs_system_python
def test_of_many_shared_objects_those_come_that_the_interpreter_links_to(tmp_path):
    base = installation(tmp_path / "base")
    for name in ("libz.so.1", "liblzma.so.5"):  # Debian's own links to the former, its module _lzma to the latter
        (tmp_path / "base/lib" / f"{name}.real").write_bytes(b"\x7fELF")
        (tmp_path / "base/lib" / name).symlink_to(f"{name}.real")
    for i in range(100):
        (tmp_path / f"base/lib/libjudge{i}.so").write_text(SECRET)
    shown = of(base, f"import os; print(sorted(os.listdir({str(tmp_path / 'base/lib')!r})))")
    expected = ["liblzma.so.5", "liblzma.so.5.real", "libz.so.1", "libz.so.1.real", SYSTEM_PYTHON.resolve().name]
    assert eval(shown) == expected


@needs_system_python
def test_the_systems_own_python_has_what_was_installed_beside_it():
    jail = Jail(python=SYSTEM_PYTHON)
    assert of(None, WHERE, jail=jail) == "/usr /python/bin/python3\n"
    assert of(None, WHERE, "python", jail=jail) == "/usr /python/bin/python\n"
    hidden = pyjail.run(["true"], jail=jail).receipt["view hidden"].value.split(", ")
    assert not [h for h in hidden if h.startswith("/usr/local/lib/python3." + str(sys.version_info[1]))]


def test_an_environment_that_is_made_anew_is_seen_as_it_is_now(tmp_path):
    python = project(tmp_path)
    assert of(python, "import settings; print('old')") == "old\n"
    shutil.rmtree(tmp_path / ".venv")
    environment(tmp_path / ".venv")
    site = next((tmp_path / ".venv/lib").glob("python3*/site-packages"))
    (site / "fresh.py").write_text("")
    assert of(python, "import fresh; print('new')") == "new\n"


def test_a_path_with_two_dots_or_through_a_symlink_does_as_well(tmp_path):
    project(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / ".venv")
    for path in (
        f"{tmp_path}/sub/../.venv/bin/python",
        f"{tmp_path}/link/bin/python",
        f"{tmp_path}/link/../.venv/bin/python3",
    ):
        assert of(path, "import settings; print(1)") == "1\n"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("python3", "absolute"), (7, "str, bytes or PathLike"), ("/no/python3", "sys.executable"), ("/bin/sh", "sys.executable"),
        ("/etc/passwd", "sys.executable"), ("/a\0b", "NUL"),
    ],
)  # fmt: skip
def test_what_is_no_interpreter_is_refused_by_name(value, says):
    with pytest.raises(SpecError, match=says) as e:
        pyjail.run(["true"], jail=Jail(python=value))
    assert e.value.field == "python"


def test_a_script_that_looks_for_an_interpreter_is_refused(tmp_path):
    shim = tmp_path / "python3"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    shim.chmod(0o755)
    with pytest.raises(SpecError, match="no script"):
        pyjail.run(["true"], jail=Jail(python=shim))


def test_a_root_of_its_own_excludes_it():
    with pytest.raises(SpecError, match="rootfs has its own"):
        Jail(rootfs="/srv/root", python="/usr/bin/python3")


def test_it_is_a_field_as_all_others(tmp_path):
    jail = Jail(python="/usr//bin/./python3")
    assert jail.python == "/usr/bin/python3"
    assert jail == Jail(python=Path("/usr/bin/python3")) != Jail()
    assert hash(jail) == hash(Jail(python="/usr/bin/python3"))
    assert pickle.loads(pickle.dumps(jail)) == jail == replace(Jail(), python="/usr/bin/python3")
    assert Jail.from_dict(json.loads(json.dumps(jail.to_dict()))) == jail
    (tmp_path / "j.toml").write_text('[jail]\npython = "/usr/bin/python3"\n')
    assert Jail.from_toml(tmp_path / "j.toml") == jail
    assert replace(jail, python=None) == Jail()


def test_the_command_line_has_it_by_path_and_by_name(python):
    root = Path(pyjail.__file__).parents[2]
    for given in (str(python), os.path.relpath(python, root)):
        command = [
            sys.executable,
            "-m",
            "pyjail",
            "run",
            "--no-strict",
            "--python",
            given,
            "--",
            "python3",
            "-c",
            "import settings",
        ]
        out = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60 * SLOW, check=False)
        assert (out.returncode, out.stderr) == (0, "")
    command = [sys.executable, "-m", "pyjail", "run", "--python", "/bin/sh", "--", "true"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60 * SLOW, check=False)
    assert out.returncode == 125 and out.stderr.startswith("pyjail: --python='/bin/sh': a Python of this host")


def test_sessions_and_processes_have_it_too(python):
    jail = Jail(python=python)
    with pyjail.Session(jail) as s:
        assert s.run(["python3", "-c", "import settings"]).ok
        assert s.run(["sh", "-c", "python3 -c 'import settings'"], env={"A": "b"}).ok
    with pyjail.start(["python3", "-c", "import settings; print(1)"], jail=jail) as p:
        assert p.stdout is not None and p.stdout.read() == b"1\n"
    with pyjail.Pool(1, jail) as pool:
        assert pool.run(["python3", "-c", "import settings"]).ok


@pytest.mark.skipif(
    importlib.util.find_spec("numpy") is None, reason="numpy is missing: install it to test its programs"
)
def test_graders_give_packages_only_when_asked():
    problem = {"task_id": 1, "prompt": "", "entry_point": "f", "test": "def check(f): assert f(2) == 4.0\n"}
    completion = "import numpy\ndef f(x): return float(numpy.square(x))\n"
    without = grading.check_correctness(problem, completion, timeout=20 * SLOW)
    assert (without.passed, "No module named 'numpy'" in without.reason) == (False, True)
    for options in ({"packages": True}, {"packages": True, "jail": Jail(python=sys.executable)}):
        assert grading.check_correctness(problem, completion, timeout=20 * SLOW, **options).passed


@pytest.mark.parametrize(
    "jail",
    [
        Jail(),
        Jail(env={"PATH": "/usr/bin:/bin"}),
        Jail(env={}),
        Jail(python=sys.executable),
        Jail(python=sys.executable, env={"PATH": "/usr/bin"}),
        Jail(deterministic=True, python=sys.executable),
    ],
)
def test_the_plan_looks_for_the_program_where_the_run_does(jail):
    (tried,) = (step["why"] for step in pyjail.plan(["env"], jail=jail).steps if step["step"] == "exec")
    out = pyjail.run(["env"], QUICK, jail=jail, text=True).stdout
    path = dict(line.split("=", 1) for line in out.splitlines()).get("PATH", "/usr/local/bin:/usr/bin:/bin")
    assert tried == "tried: " + ", ".join(f"{directory}/env" for directory in path.split(":"))


def test_the_receipt_and_the_plan_tell_it(python):
    r = pyjail.run(["true"], jail=Jail(python=python))
    row = r.receipt["view python"]
    site = next(python.parents[1].glob("lib/python3*/site-packages"))
    assert (row.asked, row.status) == (str(python), "enforced")
    assert row.value.endswith(f"first in PATH: /python/bin; packages: {site}")
    default = pyjail.run(["true"]).receipt
    assert default["view python"].asked == "the running one, without packages"
    assert "site-packages," not in default["view python"].value
    assert default["view mounts"].status == "not_asked"
    out = subprocess.run(
        [sys.executable, "-m", "pyjail", "plan", "--python", str(python), "--", "true"],
        capture_output=True, text=True, timeout=60 * SLOW, check=True,
    ).stdout  # fmt: skip
    assert f"packages: {site}" in out
    assert f"warning          Jail(python=) opens what is installed for {python}" in out
    assert textwrap.dedent(out)


@needs_system_python
def test_what_another_interpreters_environment_is_made_of_stays_hidden(tmp_path):
    """The base of the environment that was asked for is not the running one's."""
    base = installation(tmp_path / "base")
    inner = environment(tmp_path / "venv", base=base)
    row = pyjail.run(["true"], jail=Jail(python=inner)).receipt["view hidden"]
    assert str(tmp_path / "base/lib" / SYSTEM_PYTHON.resolve().name / "site-packages") in row.value.split(", ")


def test_the_language_python_is_the_running_one_where_the_jail_has_no_other():
    shell = os.path.realpath("/bin/sh")
    jail = Jail(mounts=(Mount.bind(shell, "/tools/sh"),), env={"PATH": "/tools"})
    prepared = pyjail.languages.prepare("python", "import sys; print(sys.executable)", jail=jail)
    r = prepared.run()
    assert r.stdout.decode().startswith(os.path.dirname(sys.executable))


def test_what_is_learned_with_it_runs_in_the_root_that_is_learned(python, tmp_path):
    command = ["python3", "-c", "import settings; print(settings.VALUE)"]
    learned = pyjail.learn(command, QUICK, jail=Jail(python=python))
    assert learned.result.ok
    jail = learned.jail(tmp_path / "root")
    r = pyjail.run(command, QUICK, jail=jail, text=True)
    assert (r.verdict, r.stdout) == ("ok", SECRET + "\n"), r.stderr
    (tmp_path / "j.toml").write_text(learned.to_toml(tmp_path / "root"))
    assert Jail.from_toml(tmp_path / "j.toml") == jail
