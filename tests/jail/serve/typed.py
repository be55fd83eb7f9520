"""``pyjail serve`` as one types it, for tests of its process: `serving`, `refused`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests import host_side
from tests.conftest import SLOW

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 60 * SLOW
T = TypeVar("T")


@contextlib.contextmanager
def serving(
    *options: str,
    env: Mapping[str, str] | None = None,
    port: Sequence[str] = ("--port", "0"),
    command: Sequence[str] = (),
    fds: Sequence[int] = (),
    log: Path | None = None,
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """(the process, its address) while the block lasts; SIGTERM ends it then, and nothing of it is left.

    ``command``: what starts it, instead of its own; ``fds``: that it is given; ``log``: a file of what it writes to
    standard error, which else ``process.stderr`` has.
    """
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [*(command or [sys.executable, "-m", "pyjail", "serve", *port]), *options], cwd=ROOT, stdout=subprocess.PIPE,
            stderr=stack.enter_context(log.open("wb")) if log else subprocess.PIPE, text=True,
            env={**os.environ, **(env or {})}, pass_fds=fds,
        )  # fmt: skip
    below: list[int] = []
    with process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            assert said, log.read_text() if log else process.stderr and process.stderr.read()
            yield process, said.removeprefix("pyjail serves on ").strip()
            below = host_side.keepers_of(process.pid)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
    assert process.returncode == 0
    end = time.monotonic() + PATIENCE
    while left := [*filter(host_side.alive, below), *host_side.cgroups_of(process.pid)]:
        assert time.monotonic() < end, f"left: {left}"
        time.sleep(0.02)


def run(*options: str, command: Sequence[str] = (), **given: Any) -> subprocess.CompletedProcess[str]:
    """What came of a ``pyjail serve`` that ends by itself."""
    return subprocess.run(
        [*(command or [sys.executable, "-m", "pyjail", "serve"]), *options], cwd=ROOT, capture_output=True, text=True,
        timeout=PATIENCE, check=False, **given,
    )  # fmt: skip


def refused(*options: str, **given: Any) -> str:
    """What it said when it did not start."""
    done = run(*options, **given)
    assert done.returncode == 125 and done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def post(url: str, body: Mapping[str, Any]) -> Any:
    """The answer as JSON."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def programs(pid: int) -> list[bytes]:
    """Command lines, with NULs, of what runs in its jails."""
    found = []
    for below in host_side.keepers_of(pid):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{below}/cmdline").read_bytes())
    return [line for line in found if line and not line.startswith(b"pyjail-")]


def until(found: Callable[[], T]) -> T:
    """What it finds, once it does."""
    end = time.monotonic() + PATIENCE
    while not (what := found()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return what
