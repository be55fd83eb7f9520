"""In which root a language is compiled and run: the caller's, else the image of the table, else this host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyjail import HostError, Jail, SpecError, languages
from pyjail.languages import _tools

C = languages.find("c")
JAVA = languages.find("java")


@pytest.fixture(autouse=True)
def _pinned(monkeypatch):
    """Images are as they were asked for: no store is looked into."""
    monkeypatch.setattr(_tools.image, "pinned", lambda jail: jail)


@pytest.mark.parametrize(
    ("given", "compiling", "running"),
    [
        ({}, None, None),
        ({"image": "all"}, "all", "all"),
        ({"image": "all", "run_image": "small"}, "all", "small"),
        ({"compile_image": "gcc"}, "gcc", None),
        ({"compile_image": "gcc", "run_image": "small"}, "gcc", "small"),
    ],
)
def test_an_image_of_the_table_is_for_both_steps_and_one_for_each_wins(given, compiling, running):
    first, second = _tools.jails(replace(C, **given), Jail(hostname="mine"))
    assert (first.image, second.image) == (compiling, running)
    assert first.hostname == second.hostname == "mine"


@pytest.mark.parametrize("own", [{"image": "mine"}, {"rootfs": "/srv/root"}, {"python": "/usr/bin/python3"}])
def test_a_root_of_the_callers_own_wins_over_the_table(own):
    jail = Jail(**own)
    assert _tools.jails(replace(C, image="all", run_image="small"), jail) == (jail, jail)


def test_each_step_needs_its_own_tools_alone():
    assert list(_tools.compiler_of(JAVA).tools) == ["javac"]
    assert list(_tools.runner_of(JAVA).tools) == ["java"]
    assert _tools.runner_of(C) is None
    assert _tools.compiler_of(C) == C


def test_an_image_of_a_language_is_text():
    with pytest.raises(SpecError, match="image"):
        replace(C, image=5)


def test_an_image_that_is_not_there_is_a_language_that_is_not_there(monkeypatch):
    def refuse(jail):
        raise HostError("image", "no image 'all' in the store", "pyjail image pull all")

    monkeypatch.setattr(_tools.image, "pinned", refuse)
    assert not languages.available(replace(C, image="all"))
    with pytest.raises(HostError, match="pyjail image pull all"):
        languages.prepare(replace(C, image="all"), "int main(void) {}")
