"""What a program, and a server that a rule names, may try on the proxy itself: it keeps its bounds, and others are served."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyjail._egress import connection, proxy, pump
from pyjail._egress.link import Link
from tests.conftest import SLOW
from tests.inside import Egress
from tests.jail.egress.world import (
    CONNECTED,
    PATIENCE,
    Server,
    World,
    everything,
    head,
    http,
    local,
    open_fds,
    tunnel,
    until,
)

RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def plain() -> Iterator[Server]:
    with Server() as made:
        yield made


def works(world: World, server: Server) -> None:
    """Somebody else is served."""
    with world.connect() as sock:
        assert tunnel(sock, f"127.0.0.1:{server.port}") == CONNECTED
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


@pytest.mark.parametrize("when", ["in the head", "before the hello"])
def test_who_sends_a_byte_now_and_then_has_no_more_time_than_who_sends_none(plain, when):
    with World(local(plain.port, f"slow.test:{plain.port}", idle=2), {"slow.test": ["127.0.0.1"]}) as world:
        with world.connect() as slow:
            data = b"CONNECT slow.test:1 HTTP/1.1\r\nX: "
            if when == "before the hello":
                assert tunnel(slow, f"slow.test:{plain.port}") == CONNECTED
                data = b"\x16\x03\x01\x20\x00\x01\x00\x1f\xfc"
            slow.settimeout(0.02)
            begun = time.monotonic()
            with contextlib.suppress(ConnectionError):
                while time.monotonic() < begun + PATIENCE:
                    slow.sendall(data[:1] or b"x")
                    data = data[1:]
                    with contextlib.suppress(TimeoutError):
                        assert slow.recv(1) != b"", "it ended in order"
            assert 1 < time.monotonic() - begun < PATIENCE
        works(world, plain)
        assert world.rows(2)[0].why == "idle for 2 s"


def test_either_side_may_end_first_and_the_other_goes_on():
    def first(sock: Any) -> None:
        sock.sendall(b"all of mine")
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass

    with Server(first) as server, World(local(server.port)) as world, world.connect() as sock:
        assert tunnel(sock, f"127.0.0.1:{server.port}") == CONNECTED
        assert everything(sock) == b"all of mine"
        for _ in range(100):
            sock.sendall(b"x" * 1000)
        sock.shutdown(socket.SHUT_WR)
        (row,) = world.rows()
        assert (row.bytes_out, row.why) == (100_000, "")
        assert until(lambda: b"".join(server.got) == b"x" * 100_000)

    def last(sock: Any) -> None:
        while sock.recv(1 << 16):
            pass
        for _ in range(100):
            sock.sendall(b"y" * 1000)

    with Server(last) as server, World(local(server.port)) as world, world.connect() as sock:
        assert tunnel(sock, f"127.0.0.1:{server.port}") == CONNECTED
        sock.shutdown(socket.SHUT_WR)
        assert everything(sock) == b"y" * 100_000
        assert world.rows()[0].why == ""


def gush(sock: Any) -> None:
    """A server that takes nothing and sends without end."""
    while True:
        sock.sendall(b"x" * (1 << 16))


def deaf(sock: Any) -> None:
    """A server that takes nothing and says nothing."""
    while sock.sock.fileno() >= 0 and not over.wait(0.05):
        pass


over = threading.Event()


def resident(pid: int) -> int:
    """Bytes of the process's own."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("who", ["a program that reads nothing", "a server that reads nothing"])
def test_who_takes_nothing_has_a_bounded_part_of_memory_and_is_cut(who):
    over.clear()
    link = Link()
    try:
        with Server(deaf if "server" in who else gush) as server, contextlib.ExitStack() as stack:
            with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
                address = listening.getsockname()
                number = link.serve(listening.fileno(), local(server.port, size="1G", idle=2))
            link.look(number)
            before = resident(link.pid)
            for _ in range(32):
                sock = stack.enter_context(socket.create_connection(address, PATIENCE))
                assert tunnel(sock, f"127.0.0.1:{server.port}") == CONNECTED
                if "server" in who:
                    sock.settimeout(0.01)
                    with contextlib.suppress(TimeoutError, ConnectionError):
                        for _ in range(1000):
                            sock.sendall(b"x" * (1 << 16))
            assert resident(link.pid) - before < 16 << 20
            assert until(lambda: [row.why for row in link.look(number).rows] == ["idle for 2 s"] * 32)
            moved = [max(row.bytes_in, row.bytes_out) for row in link.end(number).rows]
            assert max(moved) < 16 << 20  # what kernels and pipes hold, and nothing beyond
    finally:
        over.set()
        link.close()


def test_when_all_keep_much_each_reads_little(plain, monkeypatch):
    monkeypatch.setattr(pump, "MOST_KEPT", 0)
    data = os.urandom(300_000)
    with World(local(plain.port)) as world, world.connect() as sock:
        assert tunnel(sock, f"127.0.0.1:{plain.port}") == CONNECTED
        sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        assert everything(sock) == data
        sender.join()
    assert pump._Way.kept == 0


def test_a_storm_of_resets_leaves_nothing(plain):
    fds = open_fds()
    with World(local(plain.port, f"slow.test:{plain.port}"), {"slow.test": 0.05}) as world:
        tunnel_ = f"CONNECT 127.0.0.1:{plain.port} HTTP/1.1\r\n\r\n".encode()
        for first in (
            b"",
            b"CONN",
            f"CONNECT slow.test:{plain.port} HTTP/1.1\r\n\r\n".encode(),
            tunnel_,
            tunnel_ + b"x" * 5000,
        ):
            for wait in (False, True):
                for _ in range(30):
                    sock = world.connect()
                    sock.sendall(first)
                    if wait and first.startswith(tunnel_):
                        assert head(sock) == CONNECTED
                    reset(sock)
        works(world, plain)
        assert until(lambda: world.proxy.count == 0)
    assert pump._Way.kept == 0
    assert until(lambda: open_fds() <= fds)


def test_lookups_that_hang_are_their_runs_alone(plain, monkeypatch):
    monkeypatch.setattr(connection, "LOOKUP_S", 0.3)
    names = {f"n{n}.slow.test": 60.0 for n in range(8)}
    with World(
        local(plain.port, f"*.slow.test:{plain.port}", f"fast.test:{plain.port}"), {**names, "fast.test": ["127.0.0.1"]}
    ) as world:
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listening, contextlib.ExitStack() as stack:
            world.call(world.proxy.serve, 2, listening.dup(), world.egress)
            for name in names:
                sock = stack.enter_context(world.connect())
                sock.sendall(f"CONNECT {name}:{plain.port} HTTP/1.1\r\n\r\n".encode())
            assert until(lambda: len(world.rows(8)) == 8)
            assert all("no answer of the resolver" in row.why for row in world.rows(8))
            assert len(world.asked) == proxy.LOOKUPS  # and none of their threads is given to another, late as it is
            with world.connect() as sock:
                assert b" 504 " in tunnel(sock, f"fast.test:{plain.port}")
            with socket.create_connection(listening.getsockname(), PATIENCE) as sock:
                assert tunnel(sock, f"fast.test:{plain.port}") == CONNECTED


def long_hello(name: bytes, padding: int) -> bytes:
    """A ClientHello with an extension of zeros (RFC 7685), in records of 16 KiB at most."""

    def vector(size: int, data: bytes) -> bytes:
        return len(data).to_bytes(size, "big") + data

    sni = b"\0\0" + vector(2, vector(2, b"\0" + vector(2, name)))
    body = (
        b"\x03\x03"
        + bytes(32)
        + b"\0"
        + vector(2, b"\x13\x01")
        + b"\1\0"
        + vector(2, b"\0\x15" + vector(2, bytes(padding)) + sni)
    )
    message = b"\1" + vector(3, body)
    return b"".join(
        [b"\x16\x03\x01" + vector(2, message[at : at + (1 << 14)]) for at in range(0, len(message), 1 << 14)]
    )


def test_a_hello_of_several_records_passes_whole_and_one_that_is_too_long_does_not(plain):
    with World(local(plain.port, f"allowed.test:{plain.port}"), {"allowed.test": ["127.0.0.1"]}) as world:
        for name, padding, passes in (
            (b"allowed.test", 20_000, True),
            (b"other.test", 20_000, False),
            (b"allowed.test", 40_000, False),
        ):
            made = long_hello(name, padding)
            with world.connect() as sock:
                assert tunnel(sock, f"allowed.test:{plain.port}") == CONNECTED
                try:
                    for at in range(0, len(made), 5000):
                        sock.sendall(made[at : at + 5000])
                except ConnectionError:  # reset while we send
                    assert not passes
                    continue
                if passes:
                    got = b""
                    while len(got) < len(made):
                        got += sock.recv(1 << 16)
                    assert got == made
                else:
                    assert everything(sock) == b"RESET"
        assert len(b"".join(plain.got)) == len(long_hello(b"allowed.test", 20_000))


def answers(world: World, data: bytes) -> bytes:
    with world.connect() as sock:
        sock.sendall(data)
        return everything(sock)


SMUGGLED = {
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "h2c": b"GET / HTTP/1.1\r\nHost: plain.test\r\nUpgrade: h2c\r\n\r\n",
    "chunks": b"POST http://{} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
    "chunks and a length": b"POST http://{} HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks by another name": b"POST http://{} HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST http://{} HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
    "a bare newline": b"GET http://{} HTTP/1.1\nX: y\r\n\r\n",
    "a return in a header": b"GET http://{} HTTP/1.1\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n",
    "a newline in the path": b"GET http://{}\nX: y HTTP/1.1\r\n\r\n",
    "a socks 5 hello": b"\x05\x01\x00\x05\x01\x00\x03\x09localhost\x00\x50\r\n\r\n",
}


@pytest.mark.parametrize("what", SMUGGLED)
def test_what_two_readers_would_read_in_two_ways_reaches_no_server(what):
    with (
        Server(http()) as server,
        World(local(server.port, f"plain.test:{server.port}"), {"plain.test": ["127.0.0.1"]}) as world,
    ):
        got = answers(world, SMUGGLED[what].replace(b"{}", b"plain.test:%d/" % server.port))
        assert got.split()[1] in (b"400", b"411")
        assert got.count(b"HTTP/1.1 ") == 1
        assert server.connections == 0


def test_what_a_program_asks_for_writes_no_header_of_our_answer():
    with World(Egress(["plain.test:80"]), {"plain.test": OSError("x\r\nSet-Cookie: y")}) as world:
        for target in (
            b"http://plain.test/%0d%0aSet-Cookie:%20y",
            b"http://evil.test%0d%0aSet-Cookie:y/",
            b"http://evil.test/",
        ):
            top, _, text = answers(world, b"GET %s HTTP/1.1\r\n\r\n" % target).partition(b"\r\n\r\n")
            assert b"Set-Cookie" not in top
            assert f"Content-Length: {len(text)}".encode() in top.split(b"\r\n")


def test_an_upgrade_is_not_asked_for_and_gives_no_tunnel():
    def talk(sock: Any) -> None:
        head(sock)
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            sock.recv(100)

    with (
        Server(talk) as server,
        World(local(server.port, f"plain.test:{server.port}"), {"plain.test": ["127.0.0.1"]}) as world,
    ):
        with world.connect() as sock:
            sock.sendall(
                b"GET http://plain.test:%d/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" % server.port
            )
            assert b" 101 " in head(sock)
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"no longer http, and for nobody")
            everything(sock)
        said = b"".join(server.got)
        assert b"pgrade" not in said
        assert b"no longer" not in said


def test_who_takes_all_places_leaves_others_one(plain):
    """A quarter of them is for runs that have few; the run that waits has its turn when there is room."""
    with World(local(plain.port), places=8) as world, contextlib.ExitStack() as stack:
        listening = [stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128)) for _ in range(2)]
        for number, sock in enumerate(listening, 2):
            world.call(world.proxy.serve, number, sock.dup(), world.egress)
        greedy = [stack.enter_context(world.connect()) for _ in range(12)]
        for sock in greedy[:6]:
            assert tunnel(sock, f"127.0.0.1:{plain.port}") == CONNECTED
        waiting = greedy[6]
        waiting.sendall(f"CONNECT 127.0.0.1:{plain.port} HTTP/1.1\r\n\r\n".encode())
        for sock in listening:
            other = stack.enter_context(socket.create_connection(sock.getsockname(), PATIENCE))
            assert tunnel(other, f"127.0.0.1:{plain.port}") == CONNECTED
        assert world.proxy.count == 8
        waiting.settimeout(0.2)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        waiting.settimeout(PATIENCE)
        for sock in greedy[:3]:
            sock.close()
        assert head(waiting) == CONNECTED


def test_a_program_that_asks_without_end_leaves_others_their_turn(plain):
    """All runs share one thread: who knocks all the time has no more of it than who knocks once."""
    stop = threading.Event()
    with World(local(plain.port)) as world, socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        world.call(world.proxy.serve, 2, listening.dup(), Egress())

        def knock() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError), socket.create_connection(listening.getsockname(), PATIENCE) as sock:
                    sock.sendall(b"CONNECT evil.test:443 HTTP/1.1\r\n\r\n")
                    sock.recv(10)

        threads = [threading.Thread(target=knock) for _ in range(4)]
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        for _ in range(20):
            works(world, plain)
        assert time.monotonic() - begun < 10 * SLOW
        stop.set()
        for thread in threads:
            thread.join()
