"""Files of the host: those below what is offered, and by no way any other."""

from __future__ import annotations

import os

import pytest

from pyjail.serve import host_files
from pyjail.serve.problem import Problem


@pytest.fixture
def place(tmp_path):
    (tmp_path / "offered/sub").mkdir(parents=True)
    (tmp_path / "offered/sub/1.in").write_bytes(b"12")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "offered-not").write_bytes(b"secret")
    (tmp_path / "offered/link").symlink_to("../secret")
    (tmp_path / "offered/up").symlink_to("..")
    (tmp_path / "offered/inner").symlink_to("sub")
    os.mkfifo(tmp_path / "offered/fifo")
    yield tmp_path
    fds = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    assert not [fd for fd in fds if os.path.exists(fd) and os.readlink(fd).startswith(str(tmp_path))]


@pytest.mark.parametrize("path", ["offered/sub/1.in", "offered//sub/./1.in"])
def test_what_is_offered_is_read(place, path):
    assert host_files.read(f"{place}/{path}", (f"{place}/other", f"{place}/offered"), 2) == b"12"


@pytest.mark.parametrize(
    "path",
    [
        "secret", "offered/../secret", "offered/link", "offered/up/secret", "offered/inner/1.in", "offered-not", "offered", "offered/", "offered/sub",
        "offered/gone", "offered/fifo", "offered/sub/1.in/x", "offered/sub\0/1.in", "offered/" + "x" * 300, "offered/" + "x/" * 3000,
    ],
)  # fmt: skip
def test_all_else_is_refused_without_a_word_of_what_is_there(place, path):
    with pytest.raises(Problem) as refused:
        host_files.read(f"{place}/{path}", (f"{place}/offered",), 100)
    assert refused.value.status == 400
    assert str(place) not in refused.value.detail and "secret" not in refused.value.detail


def test_relative_paths_are_none(place, monkeypatch):
    monkeypatch.chdir(place)
    for path in ("offered/sub/1.in", "", "~/x"):
        with pytest.raises(Problem):
            host_files.read(path, (f"{place}/offered",), 100)


def test_more_than_may_be_held_is_not_read(place):
    with pytest.raises(Problem, match="more than 1 bytes"):
        host_files.read(f"{place}/offered/sub/1.in", (f"{place}/offered",), 1)


def test_a_device_is_no_file():
    with pytest.raises(Problem, match="regular"):
        host_files.read("/dev/zero", ("/dev",), 100)
