"""What users of subprocess type means here what it means there, or is refused in words."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

import pyjail
from pyjail import SpecError
from tests.jail.run.test_text import DOORS as doors_of_text

ECHO = ["sh", "-c", "printf 'a\\r\\nb'; printf e >&2; exit 3"]
doors = pytest.mark.parametrize("door", doors_of_text, ids=lambda d: d.__name__)


@doors
def test_capture_output_and_universal_newlines_mean_the_same(door):
    given = {"capture_output": True, "universal_newlines": True}
    ours, theirs = door(ECHO, **given), subprocess.run(ECHO, **given, check=False)
    assert (ours.stdout, ours.stderr, ours.returncode) == (theirs.stdout, theirs.stderr, theirs.returncode)
    assert isinstance(door(ECHO, capture_output=True).stdout, bytes)
    assert isinstance(door(ECHO, universal_newlines=False, text=True).stdout, str)


@pytest.mark.parametrize(
    "run", [pyjail.run, lambda *a, **k: asyncio.run(pyjail.aio.run(*a, **k)), pyjail.Session().run, pyjail.Pool(1).run]
)
@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"capture_output": False}, "capture_output"), ({"capture_output": 1}, "capture_output"),
        ({"capture_output": True, "stdout": pyjail.DEVNULL}, "capture_output"), ({"universal_newlines": "x"}, "universal_newlines"),
    ],
)  # fmt: skip
def test_what_they_cannot_mean_is_refused(run, given, field):
    with pytest.raises(SpecError, match=field):
        run(["true"], **given)


def test_live_streams_take_universal_newlines():
    with pyjail.start(ECHO, universal_newlines=True) as p:
        assert p.communicate() == ("a\nb", "e")
    with pyjail.Session() as session, session.start(ECHO, universal_newlines=True) as p:
        assert p.communicate() == ("a\nb", "e")

    async def main():
        async with await pyjail.aio.start(ECHO, universal_newlines=True) as p:
            return await p.communicate()

    assert asyncio.run(main()) == ("a\nb", "e")


def test_many_commands_take_them_each():
    with pyjail.Pool(1) as pool:
        commands = [{"args": ECHO, "universal_newlines": True}, {"args": ECHO, "capture_output": True}]
        assert [r.stdout for r in pool.map(commands)] == ["a\nb", b"a\r\nb"]
        assert [r.stdout for r in pool.map([ECHO], universal_newlines=True)] == ["a\nb"]
