"""Nothing is left on the host of any selftest."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

import pyjail
from tests.host_side import left_over, shm_segments
from tests.jail.selftest.checks import NAME
from tests.scripts import until


def traces() -> list[str]:
    """Everything of a selftest that can be seen on this host: its files, IPC objects, keys, processes."""
    places = [tempfile.gettempdir(), os.path.expanduser("~"), "/dev/shm", "/", "/usr", "/etc", "/var/tmp", "/dev"]
    found = [f"{p}/{n}" for p in places if os.path.isdir(p) for n in os.listdir(p) if NAME in n]
    keys = Path("/proc/keys").read_text() if os.path.exists("/proc/keys") else ""
    found += [line for line in keys.splitlines() if NAME in line]
    queues = Path("/proc/sysvipc/msg")
    found += queues.read_text().splitlines()[1:] if queues.exists() else []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if b"pyjail-canary-" in Path(f"/proc/{entry}/cmdline").read_bytes():
                found.append(entry)
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def leaves_nothing():
    pyjail.run(["true"])  # what stays open for good, is open
    pyjail.close()
    before, segments, seen = left_over(), shm_segments(), traces()
    yield
    pyjail.close()
    assert until(lambda: left_over() == before), (left_over(), before)
    assert until(lambda: shm_segments() <= segments), shm_segments()  # those of others go by themselves
    assert until(lambda: set(traces()) <= set(seen)), traces()  # the kernel collects keys a little later


@pytest.fixture
def shown_tmp(tmp_path, monkeypatch):
    """A temporary directory of its own for the canaries, so that a jail can be given it."""
    os.chmod(tmp_path, 0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return str(tmp_path)
