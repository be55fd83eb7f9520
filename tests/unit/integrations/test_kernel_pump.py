"""What joins a kernel's clients to its jail: nothing is lost, nobody waits for somebody else."""

from __future__ import annotations

import contextlib
import random
import socket

import pytest

from pyjail.integrations._kernel.pump import BLOCK, Pump


class Joined:
    """A pump with one pair, and the outer ends of it."""

    def __init__(self, told=None):
        self.pump = Pump()
        self.left, inner = socket.socketpair()
        self.right, other = socket.socketpair()
        self.pump.join(inner, other, told)
        for sock in (self.left, self.right):
            sock.setblocking(False)

    def until(self, done, turns=10_000):
        for _ in range(turns):
            if done():
                return
            self.pump.turn(0.01)
        raise AssertionError("it does not come to an end")


@pytest.fixture
def joined():
    made = Joined()
    yield made
    made.pump.close()
    made.left.close()
    made.right.close()


def received(sock, data):
    """Adds what is there; whether its end is."""
    try:
        found = sock.recv(1 << 20)
    except BlockingIOError:
        return False
    data += found
    return not found


def test_both_directions_come_through_whole_and_in_order(joined):
    dice = random.Random(1)
    ways = [(joined.left, joined.right), (joined.right, joined.left)]
    said = [dice.randbytes(5 * BLOCK + 123), dice.randbytes(3 * BLOCK + 7)]
    sent, got = [0, 0], [bytearray(), bytearray()]

    def step():
        for i, (source, sink) in enumerate(ways):
            if sent[i] < len(said[i]):
                with contextlib.suppress(BlockingIOError):
                    sent[i] += source.send(said[i][sent[i] : sent[i] + dice.randrange(1, 2 * BLOCK)])
            received(sink, got[i])
        return [bytes(g) for g in got] == said

    joined.until(step)


def test_what_was_said_before_the_end_still_arrives(joined):
    joined.left.sendall(b"last words")
    joined.left.close()
    got = bytearray()
    joined.until(lambda: received(joined.right, got))
    assert got == b"last words"


def test_who_does_not_read_stops_its_own_peer_and_nobody_else(joined):
    other_left, inner = socket.socketpair()
    other_right, outer = socket.socketpair()
    joined.pump.join(inner, outer)
    stuck = 0
    try:
        while True:
            stuck += joined.left.send(b"x" * BLOCK)
            joined.pump.turn(0.01)
    except BlockingIOError:
        assert stuck >= BLOCK
    other_left.sendall(b"hello")
    joined.pump.turn(0.1)
    other_right.settimeout(5)
    assert other_right.recv(10) == b"hello"
    other_left.close()
    other_right.close()


def test_each_byte_of_the_first_one_is_told_and_none_of_the_other():
    told = []
    joined = Joined(told.append)
    joined.left.sendall(b"x" * 1000)
    joined.right.sendall(b"y" * 77)
    got = bytearray(), bytearray()
    joined.until(
        lambda: received(joined.right, got[0]) or received(joined.left, got[1]) or list(map(len, got)) == [1000, 77]
    )
    assert sum(told) == 1000
    joined.pump.close()
    joined.left.close()
    joined.right.close()


def test_closed_it_has_no_open_socket(joined):
    joined.pump.close()
    for sock in (joined.left, joined.right):
        assert sock.recv(1) == b""
