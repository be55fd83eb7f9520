"""``pyjail image``: what each command prints, as text and as JSON, and its exit code."""

from __future__ import annotations

import json
import os

import pytest

from pyjail import cli, images
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
