"""The real service as a process of its own, for tests that speak to it over sockets: `served`."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pyjail.serve import Config
from tests import host_side
from tests.conftest import SLOW

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 60 * SLOW


@dataclass(frozen=True)
class Served:
    """A service that answers.

    Attributes: ``url`` without a "/" at its end, ``port`` of 127.0.0.1 (0: it has a unix socket), ``pid``.
    """

    url: str
    port: int
    pid: int
    _log: Path

    def log(self) -> str:
        """All that it wrote to standard error."""
        time.sleep(0.1 * SLOW)  # a thread writes it
        return self._log.read_text(errors="replace")

    def programs(self) -> list[bytes]:
        """Command lines, with NULs, of the programs that run in its jails now."""
        found = []
        for pid in host_side.keepers_of(self.pid):
            with suppress(OSError):
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes())
        return [line for line in found if line and not line.startswith(b"pyjail-") and b"_egress" not in line]


@contextmanager
def served(
    config: Config | None = None,
    *,
    env: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
    end: signal.Signals = signal.SIGTERM,
) -> Iterator[Served]:
    """A service while the block lasts; it is ended by SIGTERM, and leaves no process and no cgroup behind.

    ``env``: more of its environment. ``within``: a command that starts it, such as ``unshare -n``. ``end``: SIGKILL
    instead.
    """
    config = Config() if config is None else config
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        with log.open("wb") as written:
            process = subprocess.Popen(
                [*within, sys.executable, "-m", "tests.jail.serve.process"], cwd=ROOT, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=written, env={**os.environ, **(env or {})},
            )  # fmt: skip
        try:
            assert process.stdin is not None and process.stdout is not None
            with process.stdin:
                process.stdin.write(pickle.dumps(replace(config, port=0)))
            said = process.stdout.readline().decode()
            assert said, log.read_text()
            port = 0 if config.unix else int(said.strip().rpartition(":")[2])
            yield Served(f"http://127.0.0.1:{port}", port, process.pid, log)
        finally:
            below = host_side.keepers_of(process.pid)
            process.send_signal(end)
            try:
                status = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"the service did not end:\n{log.read_text()}") from None
            finally:
                assert process.stdout is not None
                process.stdout.close()
        assert status == (-end if end == signal.SIGKILL else 0), log.read_text()
        _gone(process.pid, below)


def _gone(pid: int, below: Sequence[int]) -> None:
    end = time.monotonic() + PATIENCE
    while left := [*filter(host_side.alive, below), *host_side.cgroups_of(pid)]:
        assert time.monotonic() < end, f"left by the service: {left}"
        time.sleep(0.02)
