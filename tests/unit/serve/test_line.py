"""The head of an answer goes with what comes next, and is never lost or late."""

from __future__ import annotations

import asyncio

import pytest

from pyjail.serve.config import Edge
from pyjail.serve.connections import Connections, Line

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Transport:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def get_extra_info(self, name):
        return ("127.0.0.1", 1)

    def write(self, data):
        assert self.sent[-1:] != ["closed"]
        self.sent.append(data)

    def close(self):
        self.sent.append("closed")

    abort = close


def after(*calls, turn=False):
    """What was sent when these had been called."""

    async def main():
        transport = Transport()
        kept = Connections(Edge())
        line = Line(transport, kept, None)
        for name, *given in calls:
            getattr(line, name)(*given)
        if turn:
            await asyncio.sleep(0)
        kept.remove(line)
        kept._timer.cancel()
        return list(transport.sent)

    return asyncio.run(main())


LONG = bytes(1 << 20)


@pytest.mark.parametrize(
    ("calls", "sent"),
    [
        ([("write", HEAD), ("write", b"body")], [HEAD + b"body"]),
        ([("write", HEAD), ("write", b"")], [HEAD]),
        ([("write", HEAD), ("write", b"bo"), ("write", b"dy")], [HEAD + b"bo", b"dy"]),
        ([("write", HEAD), ("write", LONG)], [HEAD, LONG]),
        ([("write", b"HTTP/1.1 100 Continue\r\n\r\n"), ("write", HEAD)], [b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD]),
        ([("write", HEAD), ("close",)], [HEAD, "closed"]),
        ([("write", HEAD), ("abort",)], ["closed"]),
        ([("write", b"body")], [b"body"]),
    ],
)
def test_a_head_goes_with_what_comes_next(calls, sent):
    assert after(*calls) == sent
    assert after(*calls, turn=True) == sent


def test_a_head_that_nothing_follows_goes_in_the_next_turn_of_the_loop():
    assert after(("write", HEAD)) == []
    assert after(("write", HEAD), turn=True) == [HEAD]
