"""What a program can make of the files that it was given as stdin, stdout and stderr."""

from __future__ import annotations

import os

import pytest

from pyjail import Jail
from tests.inside import host

AGAIN = """
import os
for fd in 0, 1:
    for flags in os.O_RDONLY, os.O_WRONLY, os.O_RDWR:
        try:
            os.open(f"/proc/self/fd/{fd}", flags)
            os.write(2, b"opened %d %d;" % (fd, flags))
        except OSError:
            pass
"""


@pytest.mark.skipif(host().landlock_abi < 1, reason="Landlock is missing: the files' own modes decide")
def test_a_file_is_not_opened_again_for_what_it_was_not_given_for(py, tmp_path):
    """/proc/self/fd asks the file's mode, which may give everybody more than the caller's fd does."""
    given, taken = tmp_path / "given", tmp_path / "taken"
    for path in given, taken:
        path.write_text("x")
        path.chmod(0o666)
    os.chmod(tmp_path, 0o777)
    with open(given, "rb") as stdin, open(taken, "wb") as stdout:
        r = py(AGAIN, stdin=stdin, stdout=stdout)
    assert (r.ok, r.stderr) == (True, b"")
    with open(given, "rb") as stdin, open(taken, "wb") as stdout:  # what the test would see
        r = py(AGAIN, stdin=stdin, stdout=stdout, jail=Jail(landlock=False))
    assert r.stderr.count(b"opened") == 6
