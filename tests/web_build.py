"""``python -m tests.web_build [--check]``: build web/ into src/pyjail/serve/static, or say whether that is what stands there.

Both need node and npm, and the packages of web/package-lock.json, which npm installs when they are not there.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "web"
SHIPPED = ROOT / "src/pyjail/serve/static"


def packages() -> None:
    """Installed, those of the lock file: once for each, and by one process."""
    stamp, listed = WEB / "node_modules/stamp", WEB / "package-lock.json"
    with listed.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256(lock.read()).hexdigest()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=WEB, check=True)
        stamp.write_text(wanted)


def build(place: Path) -> None:
    """Types are right, and the page is in ``place``."""
    subprocess.run(["node_modules/.bin/tsc", "-p", "."], cwd=WEB, check=True)
    subprocess.run(["node", "build.mjs", str(place)], cwd=WEB, check=True)


def differences(place: Path) -> list[str]:
    """Names of files that are not the same as those that ship."""
    theirs, ours = ({p.name: p.read_bytes() for p in d.iterdir()} for d in (place, SHIPPED))
    return sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))


def main(arguments: list[str]) -> int:
    """0: built, or the same."""
    if arguments not in ([], ["--check"]):
        print("usage: ./dev web [--check]", file=sys.stderr)
        return 2
    packages()
    with tempfile.TemporaryDirectory() as made:
        place = Path(made, "static")
        build(place)
        if not arguments:
            shutil.rmtree(SHIPPED, ignore_errors=True)
            shutil.copytree(place, SHIPPED)
            return 0
        for name in (found := differences(place)):
            print(f"not what ships: {name}", file=sys.stderr)
        return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
