"""The page, the examples and the docstrings of grading run as they stand."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SLOW
from tests.scripts import PRELUDE, script

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", ["_correctness", "_files", "_function", "inside.encoding"])
def test_the_examples_in_docstrings_run(name):
    found = doctest.testmod(importlib.import_module(f"pyjail.grading.{name}"))
    assert found.attempted and not found.failed


def test_the_page_s_snippets_run():
    page = (ROOT / "docs/grading.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(snippets) >= 3
    for code in snippets:
        done = script(code, cwd=ROOT)
        assert done.returncode == 0, (code, done.stderr)


def test_the_example_runs():
    code = f"{PRELUDE}import runpy, sys\nsys.argv[1:] = ['--timeout', '{3 * SLOW}']\nrunpy.run_path('examples/humaneval.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=100 * SLOW)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("pass@1: 0.375\n")
