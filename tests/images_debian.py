"""Images of Debian, with Python and C, made once for each user of this machine, for all tests that want one."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pyjail import HostError, images
from tests import place
from tests.conftest import SLOW

LANGUAGES = ("python", "c")
NAME = "debian"
SOURCES = Path(images.__file__).parents[1] / "_images"


def lacking() -> str:
    """Why none can be made here, or "": what a skip says."""
    if SLOW > 1 or place.single_mapping():
        return place.ELSEWHERE  # a guest, which has no network; a user without subordinate ids
    return "" if shutil.which("mmdebstrap") else "mmdebstrap is not installed: apt-get install mmdebstrap uidmap"


@functools.cache
def home(name: str = NAME, languages: tuple[str, ...] = LANGUAGES, packages: tuple[str, ...] = ()) -> Path:
    """A PYJAIL_HOME whose store has the image of this name. What else tests put there they remove."""
    made = hashlib.sha256(b"".join((SOURCES / file).read_bytes() for file in ("debian.py", "reduced.py", "build.py")))
    where = Path(tempfile.gettempdir(), f"pyjail-tests-{name}-{os.geteuid()}-{made.hexdigest()[:12]}")
    where.mkdir(mode=0o700, exist_ok=True)
    assert where.stat().st_uid == os.geteuid()
    fd = os.open(where / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # as long as this process lives
    fcntl.flock(fd, fcntl.LOCK_SH)
    if not there(where, name):
        fcntl.flock(
            fd, fcntl.LOCK_EX
        )  # the parts of a run of tests want it at the same time; who has it shares the lock
        if not there(where, name):
            forget(where, name)
            command = [sys.executable, "-m", "pyjail", "image", "build", name, "--language", ",".join(languages)]
            command += [f"--package={package}" for package in packages]
            subprocess.run(command, check=True, timeout=600 * SLOW, env={**os.environ, "PYJAIL_HOME": str(where)})
        fcntl.flock(fd, fcntl.LOCK_SH)
    return where


def there(where: Path, name: str) -> bool:
    """Whether the image is in that store."""
    try:
        return images.get(name, path=where / "images").name == name
    except HostError:
        return False


def forget(current: Path, name: str) -> None:
    """Those that earlier code made, and that no tests use now."""
    for other in current.parent.glob(f"pyjail-tests-{name}-{os.geteuid()}-*"):
        if other == current or other.lstat().st_uid != os.geteuid():
            continue
        fd = os.open(other / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(other, ignore_errors=True)
        os.close(fd)
