"""``pyjail image commit``: an image made by a program, or the program's own end."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import pyjail
from pyjail import images
from tests import images_writable, place


@pytest.fixture
def commit(tmp_path, monkeypatch):
    """Runs the command in a store of the test's own, where there is an image "base": (exit code, stdout, stderr)."""
    monkeypatch.setenv("PYJAIL_HOME", str(tmp_path / "home"))
    images_writable.load(tmp_path / "base", Env=["PATH=/bin"], Cmd=["sh"])

    def run(*words: str, before: tuple[str, ...] = (), stdin: str = "") -> tuple[int, str, str]:
        loose = [] if place.CGROUPS else ["--no-strict"]
        command = [sys.executable, "-m", "pyjail", "image", *before, "commit", *loose, *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout, done.stderr

    yield run
    pyjail.close()


def test_what_a_program_did_is_an_image_whose_command_runs_it(commit, tmp_path):
    (tmp_path / "given").write_text("from outside\n")
    code, out, err = commit(
        "--image", "base", "--file", str(tmp_path / "given"), "--image-env", "A=b c", "--image-cmd", "cat '/etc/new'",
        "--image-working-dir", "/etc", "--image-user", "1234",
        "next", "--", "sh", "-c", "cat; cat given >/etc/new; rm /etc/a", stdin="passed on\n",
    )  # fmt: skip
    assert (code, err) == (0, "") and out.startswith("passed on\nnext  sha256:")
    image = images.get("next")
    assert (image.config["cmd"], image.working_dir, image.config["user"]) == (["cat", "/etc/new"], "/etc", "1234")
    assert image.config["env"] == ["PATH=/bin", "A=b c"]
    loose = [] if place.CGROUPS else ["--no-strict"]
    again = subprocess.run(
        [sys.executable, "-m", "pyjail", "run", *loose, "--image", "next"], capture_output=True, text=True, timeout=300
    )
    assert again.stdout == "from outside\n" and not os.path.lexists(f"{image.root}/etc/a")
    assert images.verify("base") == images.verify("next") == []


def test_with_json_the_image_is_a_document_and_what_the_program_says_goes_to_stderr(commit):
    code, out, err = commit("--json", "--image", "base", "next", "--", "sh", "-c", "echo said; echo x >/new")
    assert (code, err) == (0, "said\n")
    assert [row["name"] for row in json.loads(out)["rows"]] == ["next"] and json.loads(out)["kind"] == "images"


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("dd if=/dev/zero of=/f bs=1M", 1)])
def test_a_program_that_fails_makes_none(commit, command, code):
    said, out, err = commit("--json", "--image", "base", "--writable-root", "1M", "next", "--", "sh", "-c", command)
    assert said == code and "there is no image next of it" in err and json.loads(out)["kind"] == "result"
    assert [image.name for image in images.list()] == ["base"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("next", "--", "true"), "--image BASE"), (("--image", "base", "next"), "name the program"),
        (("--image", "none", "next", "--", "true"), "pyjail image pull none"),
        (("--image", "base", "a b", "--", "true"), "a name of letters"),
        (("--image", "base", "--image-env", "A", "next", "--", "true"), "--image-env"),
        (("--image", "base", "--image-cmd", "a 'b", "next", "--", "true"), "--image-cmd"),
        (("--image", "base", "--image-working-dir", "x", "next", "--", "true"), "--image-working-dir"),
        (("--image", "base", "--bound", "entries=1", "next", "--", "sh", "-c", "echo >/a; echo >/b"), "--bound entries="),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_told(commit, words, told):
    code, out, err = commit(*words)
    assert code == 125 and told in err and not out
    assert [image.name for image in images.list()] == ["base"]


def test_the_table_of_a_configuration_is_heeded_wherever_it_is_named(commit, tmp_path):
    (tmp_path / "c.toml").write_text('[jail]\nimage = "base"\nuid = 0\ngid = 0\n[images]\nmax_size = "1K"\n')
    config = ("--config", str(tmp_path / "c.toml"))
    for before, words in ((config, ()), ((), config)):
        code, _, err = commit(*words, "next", "--", "sh", "-c", "id -u; echo x >/new", before=before)
        assert code == 125 and "max_size" in err
