"""A source that is looked at before it runs: never by this process, whose parser it could keep busy or crash."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from pyjail import precheck
from pyjail.serve.checks import MOST, Checks
from pyjail.serve.job import Job


class Jailed:
    """In the place of the jail that a source is parsed in."""

    seen: ClassVar[list[str]] = []
    ended = 0
    fails = False

    def __init__(self, **given):
        assert given.keys() == {"jail"}

    async def check(self, source):
        self.seen.append(source)
        if self.fails:
            raise ConnectionError
        return [precheck.Construct(1, 1, "import", "import of os")]

    async def close(self):
        Jailed.ended += 1


@pytest.fixture
def jailed(monkeypatch):
    def never(*_, **__):
        raise AssertionError("it was parsed in this process")

    monkeypatch.setattr(precheck, "Checker", Jailed)
    monkeypatch.setattr(precheck, "check", never)
    monkeypatch.setattr(Jailed, "seen", [])
    monkeypatch.setattr(Jailed, "ended", 0)
    return Jailed


def looked_at(source, check="warn"):
    async def found():
        return await Checks().of(Job(language="python", source=source, check=check))

    return asyncio.run(found())


def test_every_source_is_parsed_in_a_jail_and_nowhere_else(jailed):
    assert [one["text"] for one in looked_at("import os")] == ["import of os"]
    assert [one["file"] for one in looked_at({"a.py": "1", "b.py": "2"})] == ["a.py", "b.py"]
    assert jailed.seen == ["import os", "1", "2"]
    assert looked_at("import os", "off") == () and len(jailed.seen) == 3


def test_what_is_found_is_bounded_and_a_check_that_fails_leaves_no_jail(jailed, monkeypatch):
    assert len(looked_at({f"{n}.py": "" for n in range(MOST + 50)})) == MOST
    monkeypatch.setattr(Jailed, "fails", True)
    with pytest.raises(ConnectionError):
        looked_at("1")
    assert jailed.ended == 1
