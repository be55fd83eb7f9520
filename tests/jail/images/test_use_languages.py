"""Languages by image: compiled in one, run in another, checked there, and never in a root that the caller did not mean."""

from __future__ import annotations

from dataclasses import replace

import pytest

import pyjail
from pyjail import HostError, Jail, images, languages
from pyjail.languages import Language
from tests import images_made as made
from tests import images_use

MAKES = made.file(b"bin/makes", b'#!/bin/sh\n{ echo "#!/bin/runs"; cat "$1"; } > program\n', mode=0o755)
RUNS = made.file(b"bin/runs", b'#!/bin/sh\nexec /bin/sh "$@"\n', mode=0o755)
SHELL = Language(
    "shell", ("runs", "./program"), "main.sh", {"makes": "--version", "runs": "--help"},
    compile=("makes", "{source}"), artefacts=("program",), extensions=(".sh",),
)  # fmt: skip
LOOSE = Jail(strict=False)
SOURCE = "echo program; ls /bin"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A store with an image that compiles, and one that runs."""
    monkeypatch.setenv("PYJAIL_HOME", str(tmp_path / "home"))
    images_use.load(tmp_path / "c", "compiler", MAKES, Env=["PATH=/bin", "KIND=compiler"])
    images_use.load(tmp_path / "r", "runner", RUNS, Env=["PATH=/bin", "KIND=runner"])
    images_use.load(tmp_path / "b", "both", MAKES, RUNS, Env=["PATH=/bin", "KIND=both"])
    yield tmp_path
    pyjail.close()


def test_a_language_is_compiled_in_one_image_and_run_in_another(home):
    language = replace(SHELL, compile_image="compiler", run_image="runner")
    program = languages.prepare(language, SOURCE, jail=LOOSE)
    assert program.ok, program.compile
    result = program.run()
    found = result.stdout.decode().split()
    assert found[0] == "program" and "runs" in found and "makes" not in found
    assert program.compile.to_dict()["image"] == images.get("compiler").digest
    assert result.to_dict()["image"] == images.get("runner").digest


def test_one_image_is_for_both_and_the_callers_goes_before_it(home):
    language = replace(SHELL, image="both")
    for jail, name in ((LOOSE, "both"), (Jail(image="both", strict=False), "both")):
        program = languages.prepare(language, "echo $KIND", jail=jail)
        assert program.run().stdout.decode() == f"{name}\n"
    with pytest.raises(HostError, match="needs runs") as e:
        languages.prepare(language, SOURCE, jail=Jail(image="compiler", strict=False))
    assert "take an image that has makes runs" in e.value.hint or "take an image that has runs" in e.value.hint


def test_a_program_stays_with_the_image_that_it_was_compiled_for(home):
    program = languages.prepare(replace(SHELL, image="both"), "echo $KIND", jail=LOOSE)
    images_use.load(home / "new", "both", MAKES, RUNS, Env=["PATH=/bin", "KIND=new"])
    assert program.run().stdout == b"both\n"
    assert languages.prepare(replace(SHELL, image="both"), "echo $KIND", jail=LOOSE).run().stdout == b"new\n"


def test_a_judge_runs_tests_in_the_image(home):
    language = replace(SHELL, compile_image="compiler", run_image="runner")
    judged = pyjail.judge_source(language, "read x; echo $((x * 2))", [("2", "4"), ("5", "10")], jail=LOOSE, workers=2)
    assert [r.verdict.value for r in judged.results] == ["ok", "ok"]


def test_tools_of_the_host_are_not_looked_for_in_an_image(home):
    assert languages.available(languages.find("bash"), LOOSE)
    assert not languages.available(replace(languages.find("bash"), image="both"), LOOSE)
    assert languages.version(replace(languages.find("bash"), image="both"), LOOSE) is None
    assert not languages.available(replace(SHELL, image="none"), LOOSE)


def test_a_table_of_ones_own_names_images(home):
    (home / "l.toml").write_text(
        '[languages.bash]\nimage = "both"\ntools = { sh = "--help" }\nrun = ["sh", "{source}"]\nsyntax = []\n'
    )
    known = languages.load(home / "l.toml")
    program = languages.prepare(languages.find("bash", known), "echo $KIND", jail=LOOSE)
    assert program.run().stdout == b"both\n"


def test_what_a_cache_keeps_is_of_one_image(home, tmp_path):
    cache = pyjail.ArtefactCache(tmp_path / "cache")
    builds = []
    for name in ("both", "both", "compiler"):
        with pyjail.Session(Jail(image=name, strict=False)) as session:
            session.write("main.sh", "echo x")
            builds.append(session.build(["makes", "main.sh"], outputs=["program"], cache=cache))
    assert [b.cached for b in builds] == [False, True, False]
    assert all(b.result.ok for b in builds)
