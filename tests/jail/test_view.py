"""What a jail sees of the host: of the interpreter what it needs to run, nothing of projects, homes and packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Limits, Mount
from tests.conftest import QUICK, SLOW
from tests.scripts import PRELUDE

SECRET = "the-reference-output-of-problem-1"
SYSTEM_PYTHON = Path("/usr/bin/python3")
# Inside: every file and symlink whose name, target or content tells the secret, and every name of a file.
LOOK = textwrap.dedent(f"""
    import os, sys
    found, names = [], []
    for top, directories, files in os.walk("/"):
        if top == "/":
            directories.remove("proc")
        if top in ("/usr/lib", "/usr/share", "/usr/include"):
            directories.clear()
        for name in directories + files:
            path = os.path.join(top, name)
            names.append(path)
            try:
                text = os.readlink(path) if os.path.islink(path) else open(path, errors="replace").read(1 << 16)
            except OSError:
                text = ""
            if {SECRET!r} in path + text:
                found.append(path)
    print("SEEN", found)
""")
RUN = """
import json, sys
import pyjail
from pyjail import Jail, Limits
LIMITS = Limits(cpu_time=60, wall_time=120, memory="512M")
def run(code, program=sys.executable, **jail):
    r = pyjail.run([program, "-c", code], LIMITS, jail=Jail(**jail), text=True)
    print(json.dumps([r.verdict, r.stdout, r.stderr]))
"""
OK = "import json, ssl, sqlite3, ctypes; print('runs')"


def packages() -> str:
    """A PYTHONPATH by which another interpreter of this version finds pyjail."""
    return os.pathsep.join(p for p in sys.path if p and ("site-packages" in p or p.endswith("src")))


def in_python(program: object, code: str, cwd: object = None, **env: str) -> list[list[str]]:
    """Run ``code`` as a program that embeds pyjail, by this interpreter; what it had run in jails."""
    root = str(Path(pyjail.__file__).parents[2])
    out = subprocess.run(
        [str(program), "-c", PRELUDE + RUN + textwrap.dedent(code)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{packages()}:{root}", **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=200 * SLOW,
        check=False,
    )
    assert out.returncode == 0, out.stderr
    return [json.loads(line) for line in out.stdout.splitlines()]


def environment(where: Path, *options: str, base: object = sys.executable) -> Path:
    subprocess.run([str(base), "-m", "venv", "--without-pip", *options, str(where)], check=True)
    return where / "bin/python"


def project(where: Path, *options: str) -> Path:
    """A project with answers and keys in every place where somebody keeps some; its environment is .venv in it."""
    python = environment(where / ".venv", *options)
    site = next((where / ".venv/lib").glob("python3*/site-packages"))
    (where / "src").mkdir()
    (site / "package").mkdir()
    for path in (
        where / ".env", where / "problems.out", where / "src/judge.py", where / ".venv/key", where / ".venv/bin/tool",
        site / "package/__init__.py", site / "settings.py",
    ):  # fmt: skip
        path.write_text(f"VALUE = {SECRET!r}\n")
    (site / "mine.pth").write_text(f"{where}/src\n# {SECRET}\n")
    with (where / ".venv/pyvenv.cfg").open("a") as f:
        f.write(f"prompt = {SECRET}\n")
    return python


def installation(where: Path) -> Path:
    """The system's Python, installed in a directory of its own; its library's files are symlinks into the system's."""
    real = SYSTEM_PYTHON.resolve()
    (where / "bin").mkdir(parents=True)
    shutil.copy(real, where / "bin" / real.name)
    (where / "bin/python3").symlink_to(real.name)
    library = where / "lib" / real.name
    library.mkdir(parents=True)
    for entry in (Path("/usr/lib") / real.name).iterdir():
        (library / entry.name).symlink_to(entry)
    (library / "site-packages").mkdir()
    for path in (where / "secret", where / "lib/secret.txt", library / "site-packages/secret.py", where / "bin/tool"):
        path.write_text(f"VALUE = {SECRET!r}\n")
    return where / "bin/python3"


needs_system_python = pytest.mark.skipif(
    not SYSTEM_PYTHON.exists() or not SYSTEM_PYTHON.resolve().name.endswith(f".{sys.version_info[1]}"),
    reason="is missing: install it to test its programs: a system Python of this version",
)


def seen(stdout: str) -> list[str]:
    """What the program LOOK found; it must have come to its end."""
    assert stdout.startswith("SEEN ["), stdout
    return eval(stdout.removeprefix("SEEN "))


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


def test_nothing_looks_beneath_what_hides():
    """Not by another name of the directory, by the mounts of the process, nor by taking the cover away."""
    hidden = [c.removeprefix("/") for c in hidden_directories() if os.listdir(c)]
    if not hidden:
        pytest.skip("proved in another place: nothing is installed beside this interpreter")
    code = f"""
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)
    for path in {hidden!r}:
        up = os.path.dirname(path)
        fd = os.open("/" + up, os.O_RDONLY)
        names = [f"/{{path}}", f"/proc/self/root/{{path}}", f"/proc/self/fd/{{fd}}/{{os.path.basename(path)}}",
                 f"/{{up}}/./{{os.path.basename(path)}}/.", f"/{{path}}/../{{os.path.basename(path)}}", f"/{{path}}//"]
        for flags in (2, 8, 0):
            libc.umount2(f"/{{path}}".encode(), flags)
        libc.unshare(0x10000000 | 0x20000)
        libc.mount(b"/" + up.encode(), b"/tmp", None, 4096, None)
        libc.syscall(428, fd, os.path.basename(path).encode(), 1)  # open_tree
        print([os.listdir(name) for name in names], os.listdir("/tmp"))
    """
    for jail in (Jail(), Jail(seccomp="none")):
        r = pyjail.run([sys.executable, "-c", textwrap.dedent(code)], QUICK, jail=jail, text=True)
        assert r.stdout == "[[], [], [], [], [], []] []\n" * len(hidden), r.stderr


def hidden_directories() -> list[str]:
    """As the receipt tells them."""
    return [p for p in pyjail.run(["true"]).receipt["view hidden"].value.split(", ") if p.startswith("/")]


def listed(path: object, *mounts: Mount, **jail: object) -> list[str]:
    r = pyjail.run(["ls", "-A", str(path)], QUICK, jail=Jail(mounts=mounts, **jail), text=True)
    return r.stdout.split() if r.ok else [r.stderr]


def test_a_mount_shows_what_is_hidden_and_a_mount_inside_of_it_shows_itself_alone(tmp_path):
    where = tmp_path / "mine"
    where.mkdir()
    (where / "data").write_text("data")
    for hidden in hidden_directories():
        assert listed(hidden) == []
        assert listed(hidden, Mount.bind(where, hidden)) == ["data"]
        assert listed(hidden, Mount.bind(where, f"{hidden}/new/deep")) == ["new"]
        assert listed(f"{hidden}/new/deep", Mount.bind(where, f"{hidden}/new/deep")) == ["data"]
        there = [e.path for e in os.scandir(hidden) if e.is_dir(follow_symlinks=False)][:1]
        for path in there:  # a mount point of the host's own, beneath what hides it
            assert listed(path, Mount.bind(where, path)) == ["data"]
            assert listed(hidden, Mount.bind(where, path)) == [os.path.basename(path)]
        assert listed(hidden, Mount.tmpfs(hidden, "1M")) == []
        assert listed(hidden, Mount.bind(hidden)) == sorted(os.listdir(hidden), key=os.fsencode) or not os.listdir(
            hidden
        )
        above = os.path.dirname(hidden)
        assert set(listed(hidden, Mount.bind(above))) == set(os.listdir(hidden))


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


@needs_system_python
def test_packages_behind_a_symlink_inside_of_the_library_are_hidden(tmp_path):
    python = installation(tmp_path / "p")
    library = tmp_path / "p/lib" / SYSTEM_PYTHON.resolve().name
    (library / "site-packages").rename(library / "mine")
    (library / "site-packages").symlink_to("mine")
    (verdict, out, err), (_, found, _) = in_python(python, f"run({OK!r})\nrun({LOOK!r})")
    assert (verdict, out) == ("ok", "runs\n"), err
    assert seen(found) == []


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


@needs_system_python
def test_a_directory_that_the_host_puts_in_the_place_of_a_hidden_one_is_hidden_too(tmp_path):
    """What lies over a directory stays with it when it is renamed; runs a second later have it over the new one."""
    python = installation(tmp_path / "p")
    site = tmp_path / "p/lib" / SYSTEM_PYTHON.resolve().name / "site-packages"
    code = f"""
    import os, time
    site = {str(site)!r}
    run("print('warm')")
    os.rename(site, site + ".old")
    os.mkdir(site)
    open(site + "/new.py", "w").write({SECRET!r})
    time.sleep(1.2)
    run(f"import os; print(os.listdir({{site!r}}))")
    with pyjail.Pool(1) as pool:
        print(json.dumps([pool.run(["ls", site]).stdout.decode()]))
        os.rename(site, site + ".older")
        os.mkdir(site)
        open(site + "/new.py", "w").write({SECRET!r})
        time.sleep(1.2)
        print(json.dumps([pool.run(["ls", site]).stdout.decode()]))
    """
    assert in_python(python, code) == [["ok", "warm\n", ""], ["ok", "[]\n", ""], [""], [""]]


def test_the_receipt_calls_hidden_only_what_no_mount_shows():
    for hidden in hidden_directories():
        for shown in (hidden, os.path.dirname(hidden)):
            row = pyjail.run(["true"], jail=Jail(mounts=(Mount.bind(shown),))).receipt["view hidden"]
            assert hidden not in row.value.split(", "), shown


def test_what_is_hidden_stays_so_in_what_is_learned(tmp_path):
    hidden = hidden_directories()
    above = [os.path.dirname(h) for h in hidden]
    code = f"import os; print([os.listdir(d) for d in {hidden!r}], bool([os.listdir(d) for d in {above!r}]))"
    limits = Limits(cpu_time=60 * SLOW, wall_time=120 * SLOW)
    learned = pyjail.learn([os.path.realpath(sys.executable), "-c", code], limits)
    assert learned.result.ok, learned.result.stderr
    assert not {m.src for m in learned.mounts} & set(hidden)
    r = pyjail.run(learned.result.args, limits, jail=learned.jail(tmp_path / "root"))
    assert (r.verdict, r.stdout) == ("ok", learned.result.stdout), r.stderr
    assert r.stdout.decode() == f"{[[] for _ in hidden]} True\n"
