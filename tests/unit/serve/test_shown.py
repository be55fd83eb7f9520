"""Output that is cleaned while a program writes it: as a whole would be, in order, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from pyjail import sanitize
from pyjail.serve.shown import Shown

# Two bytes at a time take a machine longest: a million of them take it a second or more.
HOSTILE = {"strip": b"\xe2\x80", "escape": b"\x1bP", "keep-colour": b"\x1b[31m"}


class Kept:
    def __init__(self):
        self.written = {"stdout": b"", "stderr": b""}

    def began(self, step):
        pass

    def used(self, usage):
        pass

    def wrote(self, name, data):
        self.written[name] += data


async def _ticks(seen: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await asyncio.sleep(0.001)
        seen.append(loop.time() - began)


@pytest.mark.parametrize("mode", HOSTILE)
def test_others_have_their_turn_while_hostile_output_is_cleaned(mode):
    data = HOSTILE[mode] * (1 << 18)

    async def cleaned():
        kept, seen = Kept(), []
        ticks = asyncio.create_task(_ticks(seen))
        await asyncio.sleep(0.01)
        async with Shown(kept, mode) as shown:
            for at in range(0, len(data), 1 << 16):  # as a program that writes as fast as it can: nobody waits between
                shown.wrote("stdout", data[at : at + (1 << 16)])
                shown.wrote("stderr", b"\x1b[2Jplain")
            before = len(seen)
            await shown.end()
        ticks.cancel()
        return kept, len(seen) - before, max(seen)

    kept, turns, longest = asyncio.run(cleaned())
    assert kept.written["stdout"] == sanitize.clean(data, mode)
    assert kept.written["stderr"] == sanitize.clean(b"\x1b[2Jplain" * (len(data) >> 16), mode)
    assert turns > 10 and longest < 1


def test_who_leaves_does_not_wait_for_what_nobody_reads():
    async def left():
        kept = Kept()
        async with Shown(kept, "strip") as shown:
            for _ in range(100):
                shown.wrote("stdout", HOSTILE["strip"] * (1 << 15))
            await asyncio.sleep(0)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        asyncio.run(asyncio.wait_for(left(), 60))


def test_what_is_taken_out_takes_no_memory_to_speak_of():
    data = HOSTILE["escape"] * (1 << 18)
    tracemalloc.start()
    try:
        sanitize.clean(data, "escape")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20  # and not a hundred times its length
    finally:
        tracemalloc.stop()
