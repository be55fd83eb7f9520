"""examples/boxlite_agent.py, as somebody who reads it would run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import place
from tests.conftest import SLOW
from tests.scripts import script

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.needs_cgroups
@pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)
def test_an_agent_repairs_its_program():
    path = str(ROOT / "examples/boxlite_agent.py")
    out = script(f"import runpy; runpy.run_path({path!r}, run_name='__main__')")
    assert (out.returncode, out.stderr) == (0, "")
    assert out.stdout.splitlines() == [
        "write: stats.py is written",
        "shell: TypeError: unsupported operand type(s) for +: 'int' and 'str'",
        "write: stats.py is written",
        "shell: 5.0",
        "shell: done",
        "python: 3 4 8",
        "python: timed out",
        "python: too much memory",
        "files: numbers server.log stats.py",
    ]
