"""A PostgreSQL of one's own: Debian's, in a temporary directory, behind a socket that only its user reaches."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 60


def binaries() -> Path | None:
    """Where the newest one's programs are; None: there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Cluster:
    """A server that runs. Attributes: ``address``, of its first database."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self._directory, self._programs = directory, programs
        self.address = f"host={directory} user=tests dbname=postgres"
        self._data = directory / "data"
        self._as: dict[str, object] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(directory, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        made = [programs / "initdb", "-D", self._data, "-U", "tests", "-A", "trust", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, cwd=directory, timeout=PATIENCE, **self._as)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until it answers."""
        given = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self._directory}", "-c", "fsync=off"]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *given], stdout=log, stderr=log, cwd=self._directory, **self._as
            )  # fmt: skip
        end = time.monotonic() + PATIENCE
        while subprocess.run([self._programs / "pg_isready", "-q", "-h", self._directory], check=False).returncode:
            assert time.monotonic() < end, (self._directory / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """At once: its clients lose their connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(PATIENCE)

    def database(self, name: str) -> str:
        """The address of a new, empty one."""
        asked = [self._programs / "createdb", "-h", self._directory, "-U", "tests", name]
        subprocess.run(asked, check=True, capture_output=True, timeout=PATIENCE)
        return self.address.replace("dbname=postgres", f"dbname={name}")


@contextmanager
def cluster(programs: Path) -> Iterator[Cluster]:
    """One that is gone, with all that it kept, when the block ends."""
    directory = Path(tempfile.mkdtemp(prefix="pyjail-pg-", dir="/tmp"))
    try:
        made = Cluster(directory, programs)
        made.start()
        yield made
        made.stop()
    finally:
        shutil.rmtree(directory)
