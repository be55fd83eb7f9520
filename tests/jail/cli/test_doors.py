"""The exit codes of the command line are those of api.txt; no door takes an option that there is not."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pyjail
from tests.conftest import SLOW
from tests.unit.test_api import exit_codes


@pytest.mark.needs_cgroups
@pytest.mark.parametrize("line", exit_codes())
def test_the_exit_code_is_what_it_was(line):
    typed, _, code = line.rpartition(" -> ")
    words = typed.split()[1:]
    if "-c" in words:  # the rest is one word
        words = [*words[: words.index("-c") + 1], " ".join(words[words.index("-c") + 1 :])]
    out = subprocess.run(
        [sys.executable, "-m", "pyjail", *words], capture_output=True, check=False, stdin=subprocess.DEVNULL,
        timeout=60 * SLOW, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert out.returncode == int(code), out


def test_an_option_that_there_is_not_is_a_type_error_at_every_door():
    with pyjail.Session() as session, pyjail.Pool(1, warm=0) as pool:
        for door in (pyjail.run, pyjail.start, session.run, session.start, pool.run):
            with pytest.raises(TypeError, match="unexpected keyword argument 'inptu'"):
                door(["true"], inptu=b"")
        for door in (pyjail.start, session.start):
            for name in ("input", "timeout", "capture_output", "check"):
                with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
                    door(["true"], **{name: None})
