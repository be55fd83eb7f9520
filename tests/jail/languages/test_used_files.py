"""What of its root a language needs, file by file."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pyjail import HostError, Jail, SpecError, languages


def test_what_a_shell_needs_is_told_by_real_paths_and_the_links_that_lead_there():
    found = languages.used_files(languages.find("bash"), jail=Jail(strict=False))
    bash = os.path.realpath("/bin/bash")
    assert found[bash] == Path(bash)
    assert any(
        isinstance(what, Path) and path.rpartition("/")[2].startswith("ld-linux") for path, what in found.items()
    )
    for path, what in found.items():
        assert path.startswith("/") and not path.startswith(("/dev/", "/proc/", "/tmp/", "/box/"))
        if isinstance(what, Path):
            assert what.is_file() and not what.is_symlink()
        elif isinstance(what, str):
            assert os.readlink(path) == what


def test_of_a_directory_that_is_listed_only_what_is_used_is_told():
    found = languages.used_files(languages.find("python"), jail=Jail(strict=False))
    library = [path for path in found if path.endswith("/traceback.py") or "/traceback." in path]  # of the exception
    assert library and not any("/tkinter/" in path or "/sqlite3/" in path for path in found)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing: install it to test its programs")
def test_a_compiler_is_left_out_for_what_only_runs():
    c = languages.find("c")
    whole, running = (set(languages.used_files(c, jail=Jail(strict=False), run_only=only)) for only in (False, True))
    assert any(path.endswith("/cc1") for path in whole) and not any(path.endswith("/cc1") for path in running)
    assert running < whole and any("libc.so" in path for path in running)


def test_a_language_that_cannot_be_watched_is_told():
    bash = languages.find("bash")
    with pytest.raises(SpecError, match="no program") as e:
        languages.used_files(replace(bash, check=""))
    assert e.value.field == "check"
    with pytest.raises(HostError, match="no-such-shell"):
        languages.used_files(replace(bash, tools={"no-such-shell": "--version"}), jail=Jail(strict=False))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing: install it to test its programs")
def test_a_test_program_that_does_not_compile_is_told(tmp_path):
    (tmp_path / "check.c").write_text("int main( {\n")
    with pytest.raises(HostError, match=r"does not compile: .*error") as e:
        languages.used_files(replace(languages.find("c"), check=str(tmp_path / "check.c")), jail=Jail(strict=False))
    assert e.value.hint == "pyjail languages --check c"
