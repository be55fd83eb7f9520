"""Projects, environments and installations that hold a secret, and what runs in a jail of theirs see of it."""

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
from tests.conftest import SLOW
from tests.scripts import PRELUDE

SECRET = f"the-reference-output-of-problem-{os.getpid()}"  # other tests put theirs below /usr/local, too
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
