"""Nothing is left on the host of any selftest."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest

import pyjail
from tests.host_side import alive, left_over, shm_segments
from tests.jail.selftest.checks import NAME
from tests.scripts import until


def of_nobody_else(pid: int) -> bool:
    """Not of a process that lives and is neither this one nor the init that orphans get: other selftests may run."""
    return pid in (1, os.getpid()) or not alive(pid)


def traces() -> list[str]:
    """Everything of a selftest of ours that can be seen on this host: its files, IPC objects, keys, processes."""
    places = [tempfile.gettempdir(), os.path.expanduser("~"), "/dev/shm", "/", "/usr", "/etc", "/var/tmp", "/dev"]
    found = [f"{p}/{n}" for p in places if os.path.isdir(p) for n in os.listdir(p)]
    found += Path("/proc/keys").read_text().splitlines() if os.path.exists("/proc/keys") else []
    found = [word for word in found if (name := re.search(NAME + r"(\d+)", word)) and of_nobody_else(int(name[1]))]
    queues = Path("/proc/sysvipc/msg")
    rows = queues.read_text().splitlines()[1:] if queues.exists() else []
    found += [row for row in rows if of_nobody_else(int(row.split()[5]))]  # lspid: who has sent the last message
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if b"pyjail-canary-" in Path(f"/proc/{entry}/cmdline").read_bytes():
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                found += [entry] if of_nobody_else(parent) else []
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
