"""Code that remembers, and packages: what boxes have of `pyjail.interpreter`."""

from __future__ import annotations

import asyncio

import pytest

import pyjail.testing
from pyjail import boxlite
from tests import place
from tests.conftest import SLOW
from tests.jail.boxlite.conftest import PATIENCE, run
from tests.jail.boxlite.test_docstrings import wheel

pytestmark = pytest.mark.needs_cgroups


@pytest.fixture(autouse=True)
def runtime(default):
    return default(timeout_seconds=PATIENCE)


def test_runs_of_a_stateful_box_remember_each_other():
    async def main():
        async with boxlite.CodeBox(stateful=True, env={"A": "b"}, working_dir="/tmp/here") as box:
            await box.run("import os; x = 20")
            cell = await box.run("print(x, os.environ['A'], os.getcwd()); x + 1")
            failed = await box.run("1 / 0")
            assert (await box.exec("echo", "beside")).stdout == "beside\n"
            return cell, failed, await box.run("print(x)")

    with pyjail.testing.nothing_left():
        cell, failed, last = run(main())
    assert (cell, cell.exit_code, cell.result.text) == ("20 b /tmp/here\n", 0, "21")
    assert failed.exit_code == 1 and failed.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert last == "20\n"


def test_what_runs_too_long_is_interrupted_and_the_rest_is_kept():
    async def main():
        async with boxlite.CodeBox(stateful=True) as box:
            await box.run("x = 1")
            with pytest.raises(boxlite.TimeoutError) as caught:
                await box.run("print('begun', flush=True)\nwhile True: pass", timeout=0.5 * SLOW)
            assert caught.value.result.stdout == "begun\n"
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(box.run("import time; time.sleep(1000)"), 0.5)
            return await box.run("print(x)")

    assert run(main()) == "1\n"


def test_limits_and_ends_of_a_stateful_box_are_told():
    async def main():
        async with boxlite.CodeBox(stateful=True, memory_mb=128) as box:
            with pytest.raises(boxlite.ResourceError, match="memory"):
                await box.run("x = bytearray(1 << 30)")
            ended = await box.run("import os; os._exit(3)")
            return ended, await box.run("print('on')")

    ended, on = run(main())
    assert ended.exit_code == 1 and "exited" in ended.stderr
    assert on == "on\n" and on.result.restarted


@pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)  # pip takes minutes
def test_packages_are_there_at_once_and_the_last_version_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, version in (("one", "1.0"), ("one", "2.0"), ("two", "1.5")):
        wheel(wheels, name, version)

    async def main():
        async with (
            boxlite.CodeBox(wheelhouse=wheels) as box,
            boxlite.CodeBox(stateful=True, wheelhouse=wheels) as cells,
        ):
            version = "import one; print(one.__version__)"
            assert (await box.run(version)).exit_code == 1
            assert await box.install_package("one==1.0") == "Successfully installed one-1.0\n"
            assert await box.run(version) == "1.0\n"
            assert await box.install_packages("One>=2", "two") == "Successfully installed one-2.0 two-1.5\n"
            assert await box.run(version + "; import two") == "2.0\n"
            assert "Read-only" in (await box.exec("sh", "-c", "echo > /python/lib/x")).stderr
            await cells.run("1")
            await cells.install_package("two")
            assert await cells.run("import two; print(two.__version__)") == "1.5\n"
            assert (await cells.run("import one")).exit_code == 1
            with pytest.raises(boxlite.ExecError, match="pip install three"):
                await box.install_package("three")
            for wrong in ("", "./two", "-r/etc/passwd", "git+https://a.org/x", "two @ file:///x"):
                with pytest.raises((boxlite.InvalidArgumentError, boxlite.ExecError)):
                    await box.install_package(wrong)
            assert await box.run(version) == "2.0\n"

    with pyjail.testing.nothing_left():
        run(main())


def test_a_box_with_a_root_of_its_own_has_its_own_packages(alpine):
    async def main():
        async with boxlite.SimpleBox(rootfs_path=alpine) as box:
            with pytest.raises(boxlite.UnsupportedError, match="image='python:slim'"):
                box.box.packages  # noqa: B018

    run(main())
