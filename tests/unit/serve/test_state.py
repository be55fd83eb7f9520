"""The directory of a service: one service's alone, and gone when it was only lent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile

import pytest

from pyjail.serve import state
from pyjail.serve.problem import Problem
from pyjail.serve.state import State


def test_one_service_has_a_directory_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "_PATIENCE", 0.1)
    first = State(str(tmp_path / "a/b"))
    assert first.directory.stat().st_mode & 0o777 == 0o700
    with pytest.raises(Problem) as e:
        State(str(tmp_path / "a/b"))
    assert str(tmp_path) not in e.value.detail
    first.close()
    State(str(tmp_path / "a/b")).close()


def test_a_directory_that_has_no_name_goes_with_its_service(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first = State("")
    (first.directory / "x").write_text("x")
    assert list(tmp_path.iterdir()) == [first.directory]
    first.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_service_left_goes_with_the_next_start_and_nobody_elses(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(state, "_YOUNG", -1)
    code = "from pyjail.serve.state import State; import time; State(''); print('x', flush=True); time.sleep(60)"
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": "src"}
    dead = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE)
    assert dead.stdout.readline()
    alive = State("")
    assert len(list(tmp_path.iterdir())) == 2
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    dead.stdout.close()
    (tmp_path / "other").mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/x").touch()
    (tmp_path / "pyjail-serve-link").symlink_to("precious")
    again = State("")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {alive.directory.name, again.directory.name, "other", "precious", "pyjail-serve-link"}
    assert (tmp_path / "precious/x").exists()
    alive.close()
    again.close()
