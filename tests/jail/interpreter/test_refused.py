"""Where no box can be held there is no interpreter, and that is an error of the machine, not of a cell."""

from __future__ import annotations

import pytest

from pyjail import HostError, Interpreter
from tests.inside import another_host


def test_without_cgroups_the_first_cell_is_refused_with_the_fix():
    with another_host(hierarchies=()), Interpreter() as python, pytest.raises(HostError) as e:
        python.run("1")
    assert e.value.hint
