"""Who takes an answer too slowly, and who only takes it slowly, as the kernel tells it."""

from __future__ import annotations

import asyncio

import pytest

from pyjail.serve.config import Edge
from pyjail.serve.connections import Connections, Line


class Transport:
    """One whose buffer is of ``waiting`` bytes."""

    def __init__(self):
        self.waiting, self.aborted = 0, False

    def get_extra_info(self, _):
        return None

    def get_write_buffer_size(self):
        return self.waiting

    def write(self, data):
        pass

    def abort(self):
        self.aborted = True


@pytest.fixture
def line(monkeypatch):
    """One of which the kernel holds ``line.kernel`` bytes, looked at each half second by `passes`."""

    async def main():
        kept = Connections(Edge())
        made = Line(Transport(), kept, None)
        kept._timer.cancel()
        return made

    made = asyncio.run(main())
    made.kernel = 0
    monkeypatch.setattr(Line, "_on_the_way", lambda self: self.kernel)
    return made


def passes(line, began, seconds, each, patience=1.0, rate=1):
    """Whether it lasts while ``each`` is done before each look."""
    for step in range(int(seconds * 2)):
        each()
        line.look(began + step / 2, patience, rate)
    return not line._transport.aborted


def test_who_takes_what_comes_piece_by_piece_is_not_ended_for_what_the_kernel_holds(line):
    now = line._since
    line.write(bytes(4_000_000))
    line.kernel = 4_000_000  # none of it is taken, and nothing waits for the kernel
    line.look(now, 1.0, 1)

    def some():
        line.write(bytes(50_000))  # as much as was taken
        line._transport.waiting = 50_000
        line.kernel = 4_000_000 - 50_000

    assert passes(line, now + 0.5, 20, some)


def test_who_takes_nothing_is_ended(line):
    now = line._since
    line.write(bytes(4_000_000))
    line._transport.waiting, line.kernel = 3_000_000, 1_000_000
    assert not passes(line, now, 3, lambda: None)


def test_who_takes_less_than_the_rate_is_ended(line):
    now = line._since
    line.write(bytes(4_000_000))
    line._transport.waiting, line.kernel = 3_000_000, 1_000_000

    def drop():
        line._transport.waiting -= 100

    assert not passes(line, now, 20, drop, rate=1000)


def test_who_has_taken_all_may_ask_for_more_much_later(line):
    now = line._since
    line.write(bytes(1000))
    assert passes(line, now, 100, lambda: None)
    line.write(bytes(4_000_000))
    line._transport.waiting = 1_000_000
    line.kernel = 3_000_000
    line.look(now + 100, 1.0, 1)
    assert not line._transport.aborted
