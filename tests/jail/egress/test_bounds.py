"""What a run's bounds are, and how connections end: by a reset, unless all of it is there."""

from __future__ import annotations

import socket
import threading

import pytest

from pyjail._egress import proxy, pump
from tests.jail.egress.world import CONNECTED, Server, World, everything, head, local, open_fds, tunnel, until


@pytest.fixture
def plain():
    with Server() as made:
        yield made


def test_more_connections_than_a_run_may_have_wait(plain):
    with World(local(plain.port, connections=2)) as world:
        first, second, third = (world.connect() for _ in range(3))
        with first, second, third:
            assert tunnel(first, f"127.0.0.1:{plain.port}") == tunnel(second, f"127.0.0.1:{plain.port}") == CONNECTED
            third.sendall(f"CONNECT 127.0.0.1:{plain.port} HTTP/1.1\r\n\r\n".encode())
            third.settimeout(0.3)
            with pytest.raises(TimeoutError):
                third.recv(1)
            first.close()
            third.settimeout(10)
            assert head(third) == CONNECTED
            assert until(lambda: plain.connections == 3)


@pytest.mark.parametrize("way", ["in", "out"])
def test_bytes_of_a_run_are_bounded_each_way(way):
    def talk(sock):
        while sock.recv(1 << 16):
            if way == "in":
                sock.sendall(b"x" * (1 << 16))

    with Server(talk) as server, World(local(server.port, size="256K")) as world:
        got = 0
        for _ in range(2):  # of the run, not of a connection
            with world.connect() as sock:
                if tunnel(sock, f"127.0.0.1:{server.port}") != CONNECTED:
                    break
                try:
                    for _ in range(1000):
                        sock.sendall(b"x" * (1 if way == "in" else 1 << 16))
                        if way == "in":
                            got += len(sock.recv(1 << 16))
                except ConnectionError:
                    pass
                else:
                    assert sock.recv(1) == b""
        rows = world.rows(2)
        assert all(row.why == f"more than 262144 bytes {way}" for row in rows)
        assert sum(row.bytes_in for row in rows) <= (1 << 18) + (1 << 18)
        assert got <= 1 << 18


def test_who_is_idle_is_reset(plain):
    with World(local(plain.port, idle=0.3)) as world:
        with world.connect() as silent, world.connect() as slow, world.connect() as idle:
            slow.sendall(b"CONN")
            assert tunnel(idle, f"127.0.0.1:{plain.port}") == CONNECTED
            assert [everything(sock) for sock in (silent, slow, idle)] == [b"RESET"] * 3
        assert {row.why for row in world.rows(3)} == {"idle for 0.3 s"}


def test_a_connection_that_breaks_is_a_reset_and_no_end():
    def talk(sock):
        sock.sendall(b"half of ")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.recv(10)

    with Server(talk) as server, World(local(server.port)) as world:
        with world.connect() as sock:
            assert tunnel(sock, f"127.0.0.1:{server.port}") == CONNECTED
            assert sock.recv(100) == b"half of "
            sock.sendall(b"x")
            assert everything(sock) == b"RESET"
        assert "broke" in world.rows()[0].why


def test_the_end_of_a_run_closes_all_and_tells(plain):
    fds = open_fds()
    with World(local(plain.port)) as world:
        with world.connect() as open_, world.connect() as asking:
            assert tunnel(open_, f"127.0.0.1:{plain.port}") == CONNECTED
            asking.sendall(b"CONN")
            assert until(lambda: world.proxy.count == 2)
            report = world.end()
            assert sorted(row.why for row in report.rows) == ["", "the run ended"]
            assert everything(open_) == everything(asking) == b"RESET"
        with pytest.raises(ConnectionRefusedError):
            world.connect()
        assert "never" in world.end().rows[0].why
    assert until(lambda: open_fds() <= fds)


def test_rows_are_bounded_and_the_rest_counted(plain, monkeypatch):
    monkeypatch.setattr(proxy, "MOST_ROWS", 5)
    with World(local(plain.port)) as world:
        for _ in range(8):
            with world.connect() as sock:
                assert b" 403 " in tunnel(sock, "evil.test:443")
                everything(sock)
        assert until(lambda: world.proxy.count == 0)
        report = world.end()
    assert (len(report.rows), report.omitted) == (5, 3)


def test_places_of_all_runs_are_bounded_and_given_back(plain):
    with World(local(plain.port), places=2) as world:
        for _ in range(3):
            with world.connect() as first, world.connect() as second, world.connect() as third:
                assert (
                    tunnel(first, f"127.0.0.1:{plain.port}") == tunnel(second, f"127.0.0.1:{plain.port}") == CONNECTED
                )
                third.sendall(f"CONNECT 127.0.0.1:{plain.port} HTTP/1.1\r\n\r\n".encode())
                second.close()
                assert head(third) == CONNECTED
            assert until(lambda: world.proxy.count == 0)


@pytest.mark.parametrize("pipes", [0, 64])
def test_every_byte_arrives_in_order_both_ways_however_slowly_it_is_taken(monkeypatch, pipes):
    """By copies, and by pipes, which a direction has once it is worth one; and no pipe is left."""
    monkeypatch.setattr(pump, "MOST_PIPES", pipes)
    data = b"".join([n.to_bytes(4, "big") for n in range(1 << 20)])
    with Server() as server, World(local(server.port, size="1G")) as world, world.connect() as sock:
        assert tunnel(sock, f"127.0.0.1:{server.port}") == CONNECTED
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        got = everything(sock)
        sender.join()
        assert got == data
        (row,) = world.rows()
        assert (row.bytes_in, row.bytes_out, row.why) == (len(data), len(data), "")
    assert pump._Pipe.alive == 0
