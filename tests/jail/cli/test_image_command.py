"""``pyjail image``: what each command prints, as text and as JSON, and its exit code."""

from __future__ import annotations

import json
import os
import re

import pytest

import pyjail
from pyjail import cli, images
from tests import images_writable
from tests.images_store import BASE, layout
from tests.records import closed, schema


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """Runs a command in a store of the test's own: (exit code, stdout, stderr)."""
    monkeypatch.setenv("PYJAIL_HOME", str(tmp_path / "home"))

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(["image", *words])
        return code, *capsys.readouterr()

    return run


def test_an_image_is_loaded_listed_inspected_and_removed(said, tmp_path):
    spec = layout(tmp_path / "one", BASE, config={"Labels": {"evil": "\x1b[2J\n"}, "User": "0"})
    code, out, err = said("import", spec, "--name", "app:1")
    assert (code, err) == (0, "")
    assert "app:1  sha256:" in out and "1 layer, 9 entries" in out
    image = images.get("app:1")
    assert said("ls")[1].split() == ["app:1", image.digest[7:19], "48.9", "KiB", "9", "entries"]
    code, out, _ = said("inspect", "app:1")
    rows = out.splitlines()
    assert f"tree         {image.root}" in rows and f"digest       {image.digest}" in rows
    assert "label        evil=?[2J?" in rows
    assert "user         0" in rows  # a number is what the jail has
    assert said("verify") == (0, "app:1: as it was\n", "")
    os.chmod(f"{image.root}/etc/group", 0o600)
    assert said("verify", "app:1") == (1, "app:1: 1 differ\n  'etc/group': another mode\n", "")
    assert said("rm", "app:1") == (0, "removed app:1\n", "")
    assert said("ls") == (0, "", "")
    assert said("gc") == (0, "", "")


def test_with_json_everything_is_a_document_of_the_schema(said, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    kinds = []
    for words in (
        ("load", layout(tmp_path / "one", BASE), "--name", "a"), ("ls",), ("inspect", "a"), ("verify", "a"), ("rm", "a"),
        ("gc", "--older", "30d", "--max-size", "1G"), ("inspect", "a"),
    ):  # fmt: skip
        code, out, err = said(*words, "--json")
        document = json.loads(out)
        jsonschema.validate(document, closed(schema()))
        kinds.append((document["kind"], code, err.count("\n")))
    assert kinds == [
        *[("images", 0, 0)] * 3, ("images_verified", 0, 0), *[("images_removed", 0, 0)] * 2, ("failure", 125, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [((), "name a command: load, import, pull, build, commit, ls, inspect, verify, rm, gc"), (("import", "x"), "--name"),
     (("inspect", "none"), "pyjail image pull none"), (("gc", "--older", "1y"), "30d, 12h, 5m or seconds"),
     (("gc", "--max-size", "-1"), "--max-size"), (("load", "oci:/nowhere", "--name", "x"), "/nowhere"),
     (("load", "tar:/dev/null", "--name", "x y"), "a name of letters"), (("lss",), "did you mean ls?")],
)  # fmt: skip
def test_what_makes_no_sense_is_told(said, words, told):
    code, out, err = said(*words)
    assert (code, out) == (125, "")
    assert told in err


@pytest.fixture
def recipe(said, tmp_path):
    """Writes a recipe on an image that can run commands; the words that build of it."""
    images_writable.load(tmp_path / "base")

    def written(text: str) -> list[str]:
        (tmp_path / "image.toml").write_text(f'from = "base"\n{text}')
        return ["build", "-f", str(tmp_path / "image.toml"), "--no-strict", "app"]

    yield written
    pyjail.close()


def test_an_image_is_built_of_a_recipe_and_each_step_is_told(said, recipe):
    words = recipe('copy = [{ src = "image.toml", dst = "/etc/recipe" }]\nrun = ["echo x >/etc/x"]\n')
    code, out, err = said(*words)
    image = images.get("app")
    assert code == 0 and out.startswith(f"app  {image.digest}\n  3 layers, ")
    told = err.splitlines()
    assert told[::2] == ["step 1 of 2: copy image.toml to /etc/recipe", "step 2 of 2: run echo x >/etc/x"]
    assert all(re.fullmatch(r"step \d of 2: .*: \d+\.\d s", line) for line in told[1::2])
    code, out, err = said(*words, "--json")
    assert (code, json.loads(out)["rows"][0]["digest"]) == (0, image.digest)
    assert [line.endswith(": cached") for line in err.splitlines()] == [False, True] * 2
    assert ": cached" not in said(*words, "--no-cache")[2]


def test_a_step_that_fails_is_the_exit_code_and_a_document(said, recipe):
    jsonschema = pytest.importorskip("jsonschema")
    words = recipe('run = ["echo bad >&2; exit 7"]\n')
    code, out, err = said(*words)
    assert (code, out) == (1, "") and err.endswith(
        "pyjail: step 1 of 1, run echo bad >&2; exit 7: runtime_error, exit code 7\nbad\n"
    )
    code, out, _ = said(*words, "--json")
    document = json.loads(out)
    jsonschema.validate(document, closed(schema()))
    assert (code, document["kind"], document["error"]["type"]) == (1, "failure", "StepError")
    assert document["error"]["result"]["exit_code"] == 7 and document["error"]["exit_code"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [(["-f", "/nowhere.toml"], "--file='/nowhere.toml': No such file"), (["--no-cache"], "--no-cache is for a recipe"),
     (["-f", "x", "--learned"], "--learned is for images of packages"), (["-f", "x", "--from", "y"], "--from is for"),
     (["-f", "x", "--package", "y"], "--package is for"), (["-f", "/dev/null"], "from=None: is missing")],
)  # fmt: skip
def test_what_makes_no_sense_of_a_recipe_is_told(said, words, told):
    code, out, err = said("build", *words, "app")
    assert (code, out) == (125, "") and told in err
