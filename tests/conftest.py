"""Fixtures for all tiers. A capability that is missing is named by a skip, and CI fails on one it does not expect."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyjail
from pyjail import Limits, Result
from tests import place
from tests.together import ONLY

SLOW = float(os.environ.get("PYJAIL_TEST_SLOWNESS", "1"))  # a guest under emulation is 20-40 times slower
QUICK = Limits(cpu_time=5 * SLOW, wall_time=10 * SLOW)

UNIT = Path(__file__).resolve().parent / "unit"
INTEGRATIONS = UNIT.parent / "integrations"  # `./dev integrations` runs them
PARTS = pytest.StashKey[set[Path]]()


def pytest_pycollect_makemodule(module_path: Path) -> None:
    """Before a module of tests that run programs is imported. Those of tests/unit are pure."""
    if UNIT not in module_path.parents:
        place.adapt()


def chosen(files: list[Path], part: str) -> set[Path]:
    """Those of part K of N: the largest files are dealt out one by one, so that the parts take about as long."""
    number, of = map(int, part.split("/"))
    if not 1 <= number <= of:
        raise pytest.UsageError(f"--part {part}: K/N is needed, with K from 1 to N")
    return {path for n, path in enumerate(sorted(files, key=lambda p: (-p.stat().st_size, p))) if n % of == number - 1}


def own(tests: Path) -> list[Path]:
    """Files of tests that need no framework."""
    return [path for path in tests.rglob("test_*.py") if INTEGRATIONS not in path.parents]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of another part are not even imported, nor are those that need a framework, but in its environment."""
    if INTEGRATIONS in collection_path.parents and os.environ.get("PYJAIL_TEST_INTEGRATION") not in (
        *collection_path.relative_to(INTEGRATIONS).parts[:1],
    ):
        return True
    part = config.getoption("--part")
    if not part or not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
        return None
    if PARTS not in config.stash:
        config.stash[PARTS] = chosen(own(UNIT.parent), part)
    return None if collection_path in config.stash[PARTS] else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose what runs now. What needs a cgroup, or root, is skipped where there is none, and nowhere else."""
    wanted = list(items)
    if not (config.getoption("--all") or any("::" in word for word in config.args)):
        wanted = [item for item in wanted if not item.get_closest_marker("slow")]
    if len(wanted) < len(items):
        kept = set(wanted)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = wanted
    # What is compiled here first need not be compiled in the guests that run beside us, which takes seconds for each.
    if only := os.environ.get(ONLY):
        items[:] = [item for item in items if item.nodeid in only.splitlines()]
    items.sort(key=lambda item: ("cc" in getattr(item, "fixturenames", ())) == (SLOW > 1))
    for item in items:
        if item.get_closest_marker("needs_cgroups") and not place.CGROUPS:
            item.add_marker(pytest.mark.skip(reason=place.WITHOUT_CGROUPS))
        if item.get_closest_marker("needs_root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason=place.WITHOUT_ROOT))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="further variants of promises, too (marked slow)")
    parser.addoption("--part", metavar="K/N", help="only these files: N such processes together run them all")
    parser.addoption("--soak", action="store_true", help="the long versions of some tests")
    parser.addoption("--keeper", help="run with this keeper instead, such as one that traps on undefined behaviour")


def pytest_configure(config: pytest.Config) -> None:
    """``--keeper``: for this process; scripts that the tests start use the installed one."""
    if config.getoption("--all") or config.getoption("--soak"):
        os.environ["PYJAIL_TEST_ALL"] = "1"  # for `tests.instants`
    if config.getoption("--soak"):
        os.environ.setdefault("PYJAIL_TEST_STEPS", str(sys.maxsize))  # each one: an hour and more
    # Started by `&` of a shell, by nohup(1): what we start would ignore it, too.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    if path := config.getoption("--keeper"):
        from pyjail._base import fds
        from pyjail._core import program

        program.loaded = fds.memfd("pyjail-keeper-given", Path(path).read_bytes(), seal=True, execute=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI every capability of the machine is tested: a skip is a failure, but for what the place cannot have."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [] if reporter is None else reporter.stats.get("skipped", [])
    if os.environ.get("PYJAIL_CI") and not all(place.expects(str(report.longrepr)) for report in skipped):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def cc(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compile C source (cached by content) to a static-free ordinary program; the path of the binary."""
    # What one pass compiled the next ones use: gcc takes seconds in an emulated guest.
    kept = Path(__file__).resolve().parents[1] / ".venv/test-binaries"
    where = tmp_path_factory.mktemp("cc")
    with contextlib.suppress(OSError):
        kept.mkdir(exist_ok=True)

    def compile_(source: str, *flags: str) -> Path:
        source = textwrap.dedent(source)
        name = hashlib.sha256(repr((source, flags)).encode()).hexdigest()[:16]
        for directory in (kept, where):
            if (directory / name).exists():
                return directory / name
        binary = (kept if os.access(kept, os.W_OK) else where) / name
        text, made = binary.with_suffix(f".{os.getpid()}.c"), binary.with_suffix(f".{os.getpid()}")
        text.write_text(source)
        subprocess.run(["gcc", "-O1", "-w", "-pthread", *flags, "-o", str(made), str(text)], check=True)
        text.unlink()
        return made.rename(binary)

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
