"""The directory of a kernel: short paths, for this user alone, and gone when its owner is."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest

from pyjail.integrations._kernel import place


@pytest.fixture
def above(tmp_path_factory, monkeypatch):
    import tempfile

    made = tempfile.mkdtemp(prefix="k", dir="/tmp")
    monkeypatch.setenv("XDG_RUNTIME_DIR", made)
    yield made
    os.rmdir(made)  # nothing may be left in it


def test_nobody_else_gets_in_and_the_jail_sees_no_more_than_its_part(above):
    made = place.Place()
    assert made.root.parent.as_posix() == above
    assert stat.S_IMODE(made.root.stat().st_mode) == 0o700
    path = made.tell({"key": "k", "signature_scheme": "hmac-sha256"})
    assert sorted(p.name for p in made.inside.iterdir()) == ["connection.json", "inside.py", "pump.py", "startup.py"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in made.inside.iterdir()} == {0o644}
    told = json.loads((made.inside / os.path.basename(path)).read_text())
    assert (told["transport"], told["key"], told["shell_port"], told["hb_port"]) == ("ipc", "k", 1, 5)
    assert path.startswith("/run/jupyter/")
    assert above not in json.dumps(told)
    made.stop()
    made.stop()


def test_a_path_that_is_too_long_for_a_socket_is_not_taken(above, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp/" + "x" * 100)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp/" + "y" * 100)
    made = place.Place()
    assert made.root.parent.as_posix() == "/tmp"
    made.stop()
    monkeypatch.setattr(place, "MOST", 20)
    with pytest.raises(RuntimeError, match="set XDG_RUNTIME_DIR or TMPDIR to one that is writable and short"):
        place.Place()


def test_what_a_killed_owner_left_is_removed_by_the_next_and_a_living_ones_stays(above):
    code = "import os, signal; from pyjail.integrations._kernel.place import Place; print(Place().root, flush=True)"
    kill = "; os.kill(os.getpid(), signal.SIGKILL)"
    killed = subprocess.run([sys.executable, "-c", code + kill], stdout=subprocess.PIPE, text=True, check=False)
    left = killed.stdout.strip()
    assert os.path.isdir(left)
    live = subprocess.Popen(
        [sys.executable, "-c", f"{code}; input(); "], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    living = live.stdout.readline().strip()
    assert not os.path.exists(left)
    made = place.Place()
    assert os.path.isdir(living)
    made.stop()
    live.kill()
    live.communicate()
    place.Place().stop()


def test_many_that_start_at_once_do_not_sweep_each_other(above):
    code = "from pyjail.integrations._kernel.place import Place\nfor _ in range(40):\n    made = Place(); made.tell({}); made.stop()"
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [one.wait(100) for one in running] == [0, 0, 0, 0]
    assert os.listdir(above) == []


def test_a_link_with_such_a_name_is_not_followed(above, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    link = f"{above}/{place.NAME}link"
    os.symlink(victim, link)
    place.Place().stop()
    assert victim.is_dir()
    os.unlink(link)
