"""A check in a jail: the same answers, and no source ends or stalls who asks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

import pyjail
from pyjail import precheck, testing
from pyjail.precheck import _jailed
from tests.conftest import SLOW

SOURCES = [
    "import os",
    "x = eval('1')",
    "print(1)",
    "-" * 60000,
    "a" + ".a" * 30000,
    "import os\0",
    "\ufeffimport os",
    "x = =",
    "a" * 70000,
    "é = 'ü'",
]
SLOWEST = "f'" + "{1}" * 21000 + "'"  # by the square of its size


def test_a_jail_gives_the_same_answers():
    for source in SOURCES:
        assert precheck.check_jailed(source, seconds=10 * SLOW) == precheck.check(source), source[:20]


def test_a_checker_gives_the_same_answers_and_leaves_nothing():
    async def all_of_them():
        async with precheck.Checker(seconds=10 * SLOW) as checker:
            return [await checker.check(source) for source in SOURCES * 2]

    with testing.nothing_left():
        found = asyncio.run(all_of_them())
    assert found == [precheck.check(source) for source in SOURCES * 2]


def with_line(monkeypatch, line):
    """The Python in the jail does this with a source first."""
    loop = _jailed.LOOP.replace("    found = ", f"    {line}\n    found = ")
    monkeypatch.setattr(_jailed, "LOOP", loop)


def test_a_source_that_takes_too_long_has_an_answer_and_the_next_one_is_checked(monkeypatch):
    with_line(monkeypatch, "while len(source) > 1000: pass")

    async def some():
        async with precheck.Checker(seconds=1) as checker:
            return [await checker.check(s) for s in ("import os", "x" * 2000, "import os")]

    with testing.nothing_left():
        found = asyncio.run(some())
    assert [c[0].text for c in found] == ["import of os", "too complex to check", "import of os"]


def test_a_deadline_holds_for_a_jail_of_its_own(monkeypatch):
    monkeypatch.setattr(_jailed, "LOOP", "while True: pass")
    assert precheck.check_jailed("1", seconds=0.2)[0].text == "too complex to check"


def test_a_parser_that_crashes_ends_its_jail_alone(monkeypatch):
    with_line(monkeypatch, "if b'crash' in source: import os; os.kill(os.getpid(), 11)")
    assert precheck.check_jailed("crash")[0].text == "too complex to check"

    async def some():
        async with precheck.Checker(seconds=20 * SLOW) as checker:
            return [await checker.check(s) for s in ("import os", "crash", "import os", "crash")]

    texts = [c[0].text for c in asyncio.run(some())]
    assert texts == ["import of os", "too complex to check", "import of os", "too complex to check"]


def test_a_jail_that_is_gone_is_no_fault_of_the_source():
    async def after():
        async with precheck.Checker(seconds=20 * SLOW) as checker:
            await checker.check("1")
            for pid in testing.below():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return await checker.check("import os")

    assert asyncio.run(after())[0].text == "import of os"


def test_a_check_that_is_given_up_leaves_no_answer_for_the_next_one():
    async def given_up():
        async with precheck.Checker(seconds=20 * SLOW) as checker:
            await checker.check("1")
            task = asyncio.create_task(checker.check(SLOWEST))
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return await checker.check("import os")

    with testing.nothing_left():
        assert asyncio.run(given_up())[0].text == "import of os"


def test_checks_at_the_same_time_get_their_own_answers():
    async def many():
        async with precheck.Checker(seconds=20 * SLOW) as checker:
            return await asyncio.gather(
                *(
                    checker.check(
                        f"import os\nimport m{i}.x",
                    )
                    for i in range(20)
                )
            )

    assert [len(c) for c in asyncio.run(many())] == [1] * 20


def test_no_python_is_told(tmp_path):
    with pytest.raises((pyjail.ProgramNotFoundError, pyjail.SpecError, pyjail.HostError, pyjail.SetupError)):
        precheck.check_jailed("1", jail=pyjail.Jail(rootfs=tmp_path))
