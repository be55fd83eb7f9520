"""What docs/agents.md and examples/agents tell a user to run, run in the environment of its framework."""

from __future__ import annotations

import ast
import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def snippets(section: str, page: str = "docs/agents.md", language: str = "python") -> list[str]:
    """The blocks below a heading."""
    text = (ROOT / page).read_text()
    (part,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return re.findall(rf"```{language}\n(.*?)```", part, re.S)


def run(*args: str) -> str:
    """What such a program prints."""
    env = {**os.environ, "MSWEA_SILENT_STARTUP": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT,
        timeout=110, check=False, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(section: str) -> None:
    """Run them; what comments behind the calls of print promise is printed."""
    codes = snippets(section)
    assert codes
    for code in codes:
        printed = run("-c", code).splitlines()
        promised = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.M)
        assert promised and [line for line in promised if line not in printed] == [], printed


def docstrings(module: str) -> None:
    """Run the examples of a module of pyjail.integrations, and of `shared`."""
    tried = 0
    for name in (f"pyjail.integrations.{module}", "pyjail.integrations.shared"):
        there = importlib.import_module(name)
        assert there.__file__
        for node in ast.walk(ast.parse(Path(there.__file__).read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                example = doctest.DocTestParser().get_doctest(ast.get_docstring(node) or "", vars(there), name, None, 0)
                shown: list[str] = []
                doctest.DocTestRunner(verbose=False).run(example, out=shown.append)
                assert not shown, "".join(shown)
                tried += bool(example.examples)
    assert tried >= 2
