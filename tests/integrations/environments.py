"""The virtual environment of each suite: which packages, where, and whether it is what it has to be."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = re.compile(r"pyjail-linux\[([\w,\s-]+)\]$")  # a line of requirements.txt: the checkout, with these extras, too
PATIENCE_S = 300  # for pip: the slowest takes half a minute
ALWAYS = ("pytest>=8", "pytest-timeout>=2.3")


def names(root: Path = ROOT) -> list[str]:
    """The folders of tests/integrations with tests."""
    return sorted({path.parent.name for path in (root / "tests/integrations").glob("*/test_*.py")})


def requirements(name: str, root: Path = ROOT) -> list[str]:
    """What the suite ``name`` needs, as pip takes it: pyjail's own packages, those of the extra that has the folder's
    name (``-`` for ``_``), where there is one, and what tests/integrations/NAME/requirements.txt lists."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *ALWAYS, *optional.get(name.replace("_", "-"), ())]
    listed = root / "tests/integrations" / name / "requirements.txt"
    for line in listed.read_text().splitlines() if listed.exists() else ():
        line = line.partition("#")[0].strip()
        if found := OURS.match(line):
            wanted += [package for extra in found[1].split(",") for package in optional[extra.strip()]]
        elif line:
            wanted.append(line)
    return list(dict.fromkeys(wanted))


def python(name: str) -> Path:
    """The interpreter of its environment, which is made where there is none, or where another list made it.

    pyjail itself is in it by its place in this checkout, as `pip install -e` puts it there, but nothing is compiled
    again: tests that run meanwhile have the extension open. Its entry points are those of src/pyjail_linux.egg-info.
    """
    wanted = requirements(name)
    place = ROOT / ".venvs" / name
    binary, stamp = place / "bin/python", place / "stamp"
    told = hashlib.sha256(repr((wanted, sys.version, str(ROOT))).encode()).hexdigest()
    if binary.exists() and stamp.exists() and stamp.read_text() == told:
        return binary
    print(f"building .venvs/{name}: {' '.join(wanted)}", file=sys.stderr, flush=True)
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    pip = [str(binary), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    try:  # an index may fail once, or never answer: what it gave is kept
        subprocess.run([*pip, *wanted], check=True, timeout=PATIENCE_S)
    except subprocess.SubprocessError:
        subprocess.run([*pip, *wanted], check=True, timeout=PATIENCE_S)
    (site,) = (place / "lib").glob("python*/site-packages")
    (site / "pyjail.pth").write_text(f"{ROOT / 'src'}\n")
    stamp.write_text(told)
    return binary
