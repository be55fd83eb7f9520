"""Fixtures for all tiers. A capability that is missing is named by a skip, and CI fails on one it does not expect."""

from __future__ import annotations

import hashlib
import os
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyjail
from pyjail import Limits, Result

SLOW = float(os.environ.get("PYJAIL_TEST_SLOWNESS", "1"))  # a guest under emulation is 20-40 times slower
QUICK = Limits(cpu_time=5 * SLOW, wall_time=10 * SLOW)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="the long version of the leak tests")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI every capability of the machine is tested: a skip is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("PYJAIL_CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def cc(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compile C source (cached by content) to a static-free ordinary program; the path of the binary."""
    where = tmp_path_factory.mktemp("cc")

    def compile_(source: str, *flags: str) -> Path:
        source = textwrap.dedent(source)
        name = hashlib.sha256(repr((source, flags)).encode()).hexdigest()[:16]
        binary = where / name
        if not binary.exists():
            (where / f"{name}.c").write_text(source)
            subprocess.run(
                ["gcc", "-O1", "-w", "-pthread", *flags, "-o", str(binary), str(where / f"{name}.c")], check=True
            )
        return binary

    return compile_


@pytest.fixture
def run_c(cc: Callable[..., Path]) -> Callable[..., Result]:
    """Compile C source outside, run it inside."""

    def run(
        source: str, limits: Limits = QUICK, *, args: tuple[str, ...] = (), flags: tuple[str, ...] = (), **kw: Any
    ) -> Result:
        binary = cc(source, *flags)
        return pyjail.run(["./a", *args], limits, files={"a": binary, **kw.pop("files", {})}, **kw)

    return run


@pytest.fixture
def sh() -> Callable[..., Result]:
    """Run a shell script inside."""

    def run(script: str, limits: Limits = QUICK, **kw: Any) -> Result:
        return pyjail.run(["sh", "-c", script], limits, **kw)

    return run


@pytest.fixture
def py() -> Callable[..., Result]:
    """Run Python source inside, with the system's or our own interpreter."""
    import sys

    def run(source: str, limits: Limits = QUICK, **kw: Any) -> Result:
        return pyjail.run([sys.executable, "-I", "-c", textwrap.dedent(source)], limits, **kw)

    return run
