"""`./dev soak` in small: mixed runs in two processes and embedders that are killed leave nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import place
from tests.conftest import SLOW


@pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)  # a second is one of a real machine
@pytest.mark.timeout(300)
def test_nothing_is_left_after_mixed_runs_and_kills():
    command = [sys.executable, "-m", "tests.soak", "--runs", "800", "--kills", "28"]
    out = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert out.returncode == 0, out.stdout + out.stderr
