"""What a jail sees of the host: of the interpreter what it needs to run, nothing of projects, homes and packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Mount
from tests.conftest import QUICK, SLOW
from tests.jail.host.projects import (
    LOOK,
    OK,
    SECRET,
    SYSTEM_PYTHON,
    environment,
    in_python,
    installation,
    needs_system_python,
    project,
    seen,
)


@pytest.mark.parametrize("options", [(), ("--copies",), ("--system-site-packages",)])
def test_of_a_project_with_its_environment_in_it_nothing_is_seen(tmp_path, options):
    where = tmp_path / "project"
    where.mkdir()
    python = project(where, *options)
    (verdict, out, err), (looked, found, _), (_, own, _) = in_python(
        python,
        f"""
        run({OK!r})
        run({LOOK!r})
        run("import sys; print(sys.prefix, sys.executable)")
        """,
    )
    assert (verdict, out) == ("ok", "runs\n"), err
    assert looked == "ok"
    assert seen(found) == []
    assert own == f"{where}/.venv {where}/.venv/bin/python\n"


def test_the_running_interpreters_own_directories_hold_nothing_else():
    listing = (
        f"find {sys.prefix} -mindepth 1; find {sys.base_prefix} -mindepth 1 -maxdepth 4 -not -path '*/python3.*/*'"
    )
    if sys.base_prefix in ("/usr", "/usr/local"):
        pytest.skip("the interpreter is the system's")
    r = pyjail.run(["sh", "-c", listing], QUICK, text=True)
    names = {os.path.basename(line) for line in r.stdout.splitlines()}
    stem = f"python3.{sys.version_info[1]}"
    allowed = {"bin", "lib", "lib64", "pyvenv.cfg", "python", "python3", stem}
    assert {n for n in names - allowed if ".so" not in n} == set(), r.stdout


def test_an_environment_behind_closed_directories_and_symlinks_runs(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    project(closed)
    (closed / ".venv").rename(closed / "real")
    (closed / ".venv").symlink_to("real")
    (tmp_path / "link").symlink_to(closed)
    for directory in (closed / "real", closed):
        directory.chmod(0o700)
    python = tmp_path / "link/.venv/bin/python"
    (verdict, out, err), (_, found, _) = in_python(python, f"run({OK!r})\nrun({LOOK!r})")
    assert (verdict, out) == ("ok", "runs\n"), err
    assert seen(found) == []


def test_an_interpreter_whose_path_has_two_dots_runs_under_that_path(tmp_path):
    project(tmp_path)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/answer").write_text(SECRET)
    (verdict, out, err), (_, found, _), (_, listed, _) = in_python(
        "../.venv/bin/python",
        f"""
        assert ".." in sys.executable
        run({OK!r})
        run({LOOK!r})
        run("import os; print(os.listdir({str(tmp_path / "examples")!r}))")
        """,
        cwd=tmp_path / "examples",
    )
    assert (verdict, out) == ("ok", "runs\n"), err
    assert seen(found) == []
    assert listed == "[]\n"


def test_an_environment_made_by_one_in_an_environment_runs(tmp_path):
    first = project(tmp_path)
    inner = environment(tmp_path / "inner", base=first)
    (verdict, out, err), (_, found, _) = in_python(inner, f"run({OK!r})\nrun({LOOK!r})")
    assert (verdict, out) == ("ok", "runs\n"), err
    assert seen(found) == []


@needs_system_python
@pytest.mark.parametrize("closed", [False, True])
def test_of_an_installation_in_a_home_directory_only_the_library_is_seen(tmp_path, closed):
    python = installation(tmp_path / "home")
    (tmp_path / "home/.ssh").mkdir()
    (tmp_path / "home/.ssh/id").write_text(SECRET)
    if closed:
        (tmp_path / "home").chmod(0o700)
    (verdict, out, err), (_, found, _) = in_python(
        python, f"assert sys.prefix.endswith('home')\nrun({OK!r})\nrun({LOOK!r})"
    )
    assert (verdict, out) == ("ok", "runs\n"), err
    assert seen(found) == []


@needs_system_python
def test_a_library_in_a_zip_file_is_seen(tmp_path):
    python = installation(tmp_path / "p")
    name = SYSTEM_PYTHON.resolve().name
    shutil.make_archive(str(tmp_path / "library"), "zip", "/usr/lib/" + name, ".")
    library = tmp_path / "p/lib" / name
    for entry in library.iterdir():
        if entry.is_symlink() and entry.name != "lib-dynload":
            entry.unlink()
    (tmp_path / "library.zip").rename(tmp_path / "p/lib" / f"{name.replace('.', '')}.zip")
    (verdict, out, err), (_, found, _) = in_python(python, f"run('import json, email; print(\"runs\")')\nrun({LOOK!r})")
    assert (verdict, out) == ("ok", "runs\n"), err
    assert seen(found) == []


@needs_system_python
def test_pythonhome_decides_outside_and_not_inside(tmp_path):
    python = installation(tmp_path / "p")
    code = f"assert sys.prefix == '/usr'\nrun({OK!r})\nrun({LOOK!r})\nrun('import sys; print(sys.prefix)')"
    (verdict, out, err), (_, found, _), (_, own, _) = in_python(python, code, PYTHONHOME="/usr")
    assert (verdict, out) == ("ok", "runs\n"), err
    assert seen(found) == []
    assert own == f"{tmp_path}/p\n"


def test_a_program_that_embeds_python_is_no_interpreter(tmp_path):
    frozen = tmp_path / "judge"
    shutil.copy(os.path.realpath(sys.executable), frozen)
    code = f"sys.executable = {str(frozen)!r}\nrun({LOOK!r}, 'python3')\nrun('', 'sh')\n"
    code += f"print(json.dumps([pyjail.run(['ls', '-d', {str(frozen)!r}], LIMITS).verdict]))"
    (verdict, found, _), _, (listed,) = in_python(sys.executable, code)
    assert (verdict, seen(found)) == ("ok", [])
    assert listed == "runtime_error"


def test_the_project_and_the_environment_can_be_shown_as_they_are(tmp_path):
    where = tmp_path / "project"
    where.mkdir()
    code = """
    from pyjail import Mount
    project = sys.prefix.rpartition("/")[0]
    run("import package; print(package.VALUE)", mounts=(Mount.bind(sys.prefix),))
    run(f"print(open({project + '/.env'!r}).read())", mounts=(Mount.bind(project + "/.env"),))
    run(f"import package; print(open({project + '/.env'!r}).read())", mounts=(Mount.bind(project),))
    """
    for verdict, out, err in in_python(project(where), code):
        assert (verdict, SECRET in out) == ("ok", True), err


def test_what_a_users_mount_passes_through_is_a_directory_again(tmp_path):
    """A symlink on the way to the interpreter does not take the place of a mount point."""
    home = tmp_path / "real"
    home.mkdir()
    project(home)
    (home / "data").mkdir()
    (home / "data/x").write_text("x")
    (tmp_path / "home").symlink_to(home)
    data = f"{tmp_path}/home/data"
    code = f"""
    r = pyjail.run(["ls", {data!r}], LIMITS, jail=Jail(mounts=(pyjail.Mount.bind({str(home / "data")!r}, {data!r}),)))
    print(json.dumps([r.verdict, r.stdout.decode(), r.stderr.decode()]))
    """
    assert in_python(f"{tmp_path}/home/.venv/bin/python", code) == [["ok", "x\n", ""]]


@pytest.mark.needs_root
def test_an_application_in_usr_src_is_hidden_and_its_environment_runs():
    """As container images have it: WORKDIR /usr/src/app."""
    where = Path(f"/usr/src/pyjail-test-{os.getpid()}")
    where.mkdir()
    try:
        python = project(where)
        (verdict, out, err), (_, found, _), (_, numpy, _) = in_python(
            python, f"run({OK!r})\nrun({LOOK!r})\nrun('import settings; print(settings.VALUE)', python=sys.executable)"
        )
        assert (verdict, out) == ("ok", "runs\n"), err
        assert seen(found) == []
        assert numpy == SECRET + "\n"
    finally:
        shutil.rmtree(where)


@pytest.mark.needs_root
def test_an_environment_in_a_system_directory_keeps_its_packages_to_itself():
    where = Path(f"/usr/local/pyjail-test-{os.getpid()}")
    python = environment(where)
    try:
        site = next((where / "lib").glob("python3*/site-packages"))
        (site / "secret.py").write_text(SECRET)
        (verdict, out, err), (_, found, _) = in_python(python, f"run({OK!r})\nrun({LOOK!r})")
        assert (verdict, out) == ("ok", "runs\n"), err
        assert seen(found) == []
    finally:
        shutil.rmtree(where)


def test_a_source_with_two_dots_is_where_the_kernel_says(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/x").write_text("right")
    (tmp_path / "x").write_text("wrong")
    (tmp_path / "link").symlink_to("a/b")
    for mount in (Mount.bind(f"{tmp_path}/link/../x", "/x"),):
        assert pyjail.run(["cat", "/x"], QUICK, jail=Jail(mounts=(mount,))).stdout == b"right"
    command = [
        sys.executable,
        "-m",
        "pyjail",
        "run",
        "--no-strict",
        "--bind",
        f"{tmp_path}/link/../x:/x",
        "--",
        "cat",
        "/x",
    ]
    assert subprocess.run(command, capture_output=True, timeout=60 * SLOW, check=False).stdout == b"right"


def test_configuration_that_libraries_read_is_there_and_secrets_of_etc_are_not():
    names = pyjail.run(["ls", "/etc"], QUICK, text=True).stdout.split()
    for name in ("fonts", "mime.types"):
        assert (name in names) == os.path.exists(f"/etc/{name}")
    assert not {"shadow", "gshadow", "ssh", "sudoers", "npmrc", "pip.conf", "machine-id", "hostname"} & set(names)
