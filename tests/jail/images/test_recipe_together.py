"""Several who build of recipes at once, who are killed or interrupted, and who collects meanwhile: the store is whole."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail
from pyjail import images
from tests import images_writable, instants
from tests.conftest import SLOW
from tests.host_side import keepers_of
from tests.images_store import unfinished, whole
from tests.scripts import PRELUDE, until

TOKEN = "dd if=/dev/urandom bs=16 count=1 2>/dev/null | busybox md5sum >"
RECIPE = {
    "from": "base",
    "copy": [{"src": "file", "dst": "/opt/file"}],
    "run": [f"{TOKEN}/one", f"sleep 0.5; {TOKEN}/two"],
    "env": {"A": "2"},
}
BUILD = f"""
import sys
from pyjail import images
tables, directory, names = {RECIPE!r}, sys.argv[1], sys.argv[2:]
for name in names:
    print(images.build_recipe(name, tables, directory=directory, strict=False).digest, flush=True)
"""


@pytest.fixture
def files(home, tmp_path):
    images_writable.load(home / "base")
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "file").write_text("file\n")
    yield tmp_path / "recipe"
    pyjail.close()


def started(files: Path, *names: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + BUILD, str(files), *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def build(files: Path, name: str, **more: object) -> images.Image:
    return images.build_recipe(name, {**RECIPE, **more}, directory=files, strict=False)


def nothing_left(home: Path) -> bool:
    """Whether a collection leaves the base alone. (A session that was interrupted ends with Python's own.)"""
    gc.collect()
    images.gc()
    parts = ("steps", "staging", "images", "roots", "locks")
    return [len(os.listdir(home / "images" / part)) for part in parts] == [0, 0, 1, 3, 2]


def test_who_build_the_same_at_once_and_who_collects_do_not_disturb_each_other(files, home):
    both = [started(files, name) for name in ("a", "b", "c")]
    assert until(lambda: (home / "images/steps").is_dir() and len(os.listdir(home / "images/steps")) > 0, 60)
    while any(process.poll() is None for process in both):  # who collects meanwhile disturbs nobody
        images.gc()
    said = [process.communicate(timeout=100 * SLOW) for process in both]
    assert [process.returncode for process in both] == [0] * 3, said
    assert whole() == ["a", "b", "base", "c"] and unfinished() == []
    for name in "abc":
        images.remove(name)
    assert nothing_left(home)


def test_of_two_who_build_the_same_at_once_one_does_each_step(files):
    both = [started(files, name) for name in ("a", "b")]
    said = [process.communicate(timeout=100 * SLOW) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len({out for out, _ in said}) == 1


def killed_at(number: int, files: Path) -> int:
    """How a child ended that builds and kills itself at step ``number`` of that; 0: it had come to the end."""
    child = os.fork()
    if not child:
        code = 1
        try:
            with instants.Instant(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                build(files, "killed", run=[f"{TOKEN}/one"])
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def test_who_is_killed_at_any_instant_leaves_a_whole_store(files, home):
    with instants.Instant(0) as counted:
        build(files, "counted", run=[f"{TOKEN}/one"])
    pyjail.close()
    images.remove("counted")
    ends = set()
    for number in instants.some(counted.steps, 32):
        ends.add(killed_at(number, files))
        assert whole() in (["base"], ["base", "killed"])
        if "killed" in [image.name for image in images.list()]:
            images.remove("killed")
        assert until(lambda: nothing_left(home), 20)  # its keeper may only be about to find out
    assert signal.SIGKILL in ends
    assert build(files, "killed").name == "killed" and whole() == ["base", "killed"]


def test_who_is_interrupted_at_any_instant_leaves_nothing(files, home):
    def used() -> None:
        build(files, "app", run=[f"{TOKEN}/one"])
        images.remove("app")
        images.gc()

    with instants.Unharmed():
        for number in instants.every(used, 40):
            try:
                with instants.Instant(number):
                    used()
            except instants.Interrupted:
                pass
            assert whole() in (["base"], ["app", "base"])
            if len(images.list()) > 1:
                images.remove("app")
            assert until(lambda: nothing_left(home), 20)
            assert keepers_of(os.getpid()) == []


def test_the_command_ends_its_step_when_it_is_told_to(files, home):
    (files / "image.toml").write_text('from = "base"\nrun = ["sleep 300"]\n')
    words = ["image", "build", "-f", str(files / "image.toml"), "--no-strict", "app"]
    process = subprocess.Popen([sys.executable, "-m", "pyjail", *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None and process.stderr.readline() == "step 1 of 1: run sleep 300\n"
    assert until(lambda: keepers_of(process.pid), 30)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60 * SLOW) == 128 + signal.SIGTERM
    process.stderr.close()
    assert until(lambda: nothing_left(home), 20) and whole() == ["base"]
