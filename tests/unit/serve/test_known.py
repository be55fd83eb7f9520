"""Versions of languages: found out while nobody runs anything, and no list waits for a tool that hangs."""

from __future__ import annotations

import asyncio
import threading

from pyjail import languages
from pyjail.serve import Config, known

TABLE = {name: languages.Language(name, (name,), "x", {name: "-v"}) for name in ("a", "b", "c")}


def made(monkeypatch, version):
    monkeypatch.setattr(languages, "version", version)
    return known.Known(Config(languages=TABLE))


def test_they_are_found_out_one_after_the_other_when_it_is_quiet(monkeypatch):
    monkeypatch.setattr(known, "_LOOK", 0.001)
    monkeypatch.setattr(known, "_CALM", 0.01)
    looks, now, most = iter([True, True, False, False, True, True, False]), set(), 0

    def version(language, jail):
        nonlocal most
        now.add(language.name)
        most = max(most, len(now))
        if language.name == "b":
            now.remove("b")
            raise RuntimeError("broken")
        now.remove(language.name)
        return {"a": "1.2", "c": None}[language.name]

    async def main():
        found = made(monkeypatch, version)
        await found.learn(lambda: next(looks, False))
        assert (most, list(looks)) == (1, [])
        monkeypatch.setattr(languages, "version", lambda language, jail: "9")
        assert await found.versions(()) == {"a": "1.2", "b": "9"}  # what failed is asked again, and no other

    asyncio.run(main())


def test_a_tool_that_hangs_is_left_out_of_lists_until_it_has_told(monkeypatch):
    monkeypatch.setattr(known, "_PATIENCE", 0.2)
    told = threading.Event()

    def version(language, jail):
        assert language.name != "b" or told.wait(60)
        return "1"

    async def main():
        found = made(monkeypatch, version)
        monkeypatch.setattr(known, "_CALM", 0)
        learning = asyncio.create_task(found.learn(lambda: False))
        await asyncio.sleep(0)
        assert await found.versions(()) == {"a": "1", "c": "1"}
        learning.cancel()
        await asyncio.gather(learning, return_exceptions=True)
        waiting = asyncio.create_task(found.versions(["b"]))
        told.set()
        assert await waiting == {"b": "1"}
        assert await found.versions(()) == {"a": "1", "b": "1", "c": "1"}

    asyncio.run(main())
