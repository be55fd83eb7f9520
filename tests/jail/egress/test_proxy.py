"""The proxy over real sockets and real TLS, with a resolver that says what the test wants."""

from __future__ import annotations

import contextlib
import socket
import ssl

import pytest

from pyjail._egress import connection
from tests.inside import Egress
from tests.jail.egress.world import (
    CONNECTED,
    Server,
    World,
    client_context,
    everything,
    head,
    http,
    local,
    tls,
    tunnel,
    until,
)


def hello(host: str | None) -> bytes:
    context, out = client_context(), ssl.MemoryBIO()
    context.check_hostname = False
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=host).do_handshake()
    return out.read()


@pytest.fixture
def server():
    with Server(tls=True) as made:
        yield made


@pytest.fixture
def plain():
    with Server() as made:
        yield made


@pytest.fixture
def world(server):
    """allowed.test and names below below.test lead to the server, and so does what is not listed."""
    rules = f"allowed.test:{server.port}", f"*.below.test:{server.port}"
    names = ("allowed.test", "other.test", "x.below.test", "below.test")
    with World(local(server.port, *rules), {name: ["127.0.0.1"] for name in names}) as made:
        yield made


@pytest.fixture
def raw(plain):
    """The server speaks anything; its address alone is listed."""
    with World(local(plain.port)) as made:
        yield made


@pytest.mark.parametrize("name", ["allowed.test", "x.below.test"])
def test_a_name_of_the_list_is_spoken_to_by_tls(world, server, name):
    with world.connect() as sock:
        assert tunnel(sock, f"{name.title()}:{server.port}") == CONNECTED
        with tls(sock, name) as inner:
            for _ in range(20):
                inner.sendall(b"hello" * 5000)
                left = 25_000
                while left:
                    left -= len(inner.recv(left))
            inner.unwrap()
    (row,) = world.rows()
    assert (row.host, row.port, row.allowed, row.why) == (name, server.port, True, "")
    assert row.rule == f"{'*.below.test' if 'below' in name else name}:{server.port}"
    assert row.bytes_in > 500_000 < row.bytes_out
    assert 0 < row.seconds < 100
    assert world.asked == [name]  # once: the address that was judged is the one that is connected to


def test_requests_and_hellos_may_come_in_pieces_or_all_at_once(world, server):
    request = f"CONNECT allowed.test:{server.port} HTTP/1.1\r\nUser-Agent: x\r\n\r\n".encode()
    first = hello("allowed.test")
    for pieces in ([request + first], [bytes([b]) for b in request] + [bytes([b]) for b in first]):
        with world.connect() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                sock.sendall(piece)
            assert head(sock) == CONNECTED
            assert sock.recv(1) == b"\x16"  # the server's handshake
    assert [row.allowed for row in world.rows(2)] == [True, True]


NOT_LISTED = """other.test:{port} allowed.test:1 below.test:{port} allowed.test.:{port} .allowed.test:{port} xallowed.test:{port}
allowed.test.evil.test:{port} 127.0.0.1:1 2130706433:{port} 0x7f000001:{port} 127.1:{port} 0177.0.0.1:{port} 127.0.0.1.:{port} [::1]:{port}
[::ffff:127.0.0.1]:{port} ::1:{port} localhost:{port} LOCALHOST:{port} 0.0.0.0:{port} allowed.test:{port}@evil.test:{port}
user@allowed.test:{port} user:allowed.test@127.0.0.1:{port} allowed.test:+{port} allowed.test:0{port} allowed.test:{port}:{port}
allowed.test%00.evil.test:{port} allowed.test#evil.test:{port} allowed.test\\evil.test:{port} xn--alowed-4ta.test:{port} al\u0142owed.test:{port}
https://allowed.test:{port} allowed.test allowed.test: :{port} *.below.test:{port} 169.254.169.254:{port} 10.0.0.1:{port}""".split()  # noqa: SIM905


@pytest.mark.parametrize("target", NOT_LISTED)
def test_what_no_rule_names_is_refused_and_not_even_looked_up(world, server, target):
    with world.connect() as sock:
        answer = tunnel(sock, target.format(port=server.port))
        assert answer.split()[1] in (b"400", b"403")
        text = everything(sock)
        assert text.startswith(b"pyjail: ")
        if answer.split()[1] == b"403":
            assert f"rules: allowed.test:{server.port}, ".encode() in text
    (row,) = world.rows()
    assert (row.allowed, row.rule, row.bytes_in, row.bytes_out) == (False, "", 0, 0)
    assert row.why
    assert world.asked == []
    assert server.connections == 0


def test_an_empty_list_refuses_all(server):
    with World(Egress(), {"allowed.test": ["127.0.0.1"]}) as world, world.connect() as sock:
        assert b" 403 " in tunnel(sock, f"allowed.test:{server.port}")
        assert b"nothing is allowed" in everything(sock)
        assert world.asked == []


ANSWERS = {
    "loopback": (["127.0.0.1"], "loopback"),
    "public, then loopback": (["8.8.8.8", "127.0.0.1"], "loopback"),
    "loopback, then public": (["127.0.0.1", "8.8.8.8"], "loopback"),
    "metadata": (["169.254.169.254"], "metadata"),
    "private": (["10.0.0.1"], "private"),
    "another loopback": (["127.9.9.9"], "loopback"),
    "mapped": (["::ffff:127.0.0.1"], "mapped"),
    "IPv6": (["::1"], "loopback"),
    "unspecified": (["0.0.0.0"], "this network"),
    "ULA": (["2606:4700::1111", "fd00::1"], "private"),
    "none": ([], "no address"),
}


@pytest.mark.parametrize("which", ANSWERS)
def test_a_listed_name_that_leads_inside_is_refused_whatever_else_it_leads_to(server, which):
    answers, why = ANSWERS[which]
    rules = [f"allowed.test:{server.port}", "127.0.0.0/8:1", f"0.0.0.0/0:{server.port}", f"::/0:{server.port}"]
    with World(Egress(rules), {"allowed.test": answers}) as world, world.connect() as sock:
        assert b" 403 " in tunnel(sock, f"allowed.test:{server.port}")
        assert why.encode() in everything(sock)
        (row,) = world.rows()
        assert (row.allowed, row.rule) == (False, f"allowed.test:{server.port}")
        assert world.asked == ["allowed.test"]
        assert server.connections == 0


def test_this_machines_own_addresses_are_refused_though_they_are_public(plain):
    egress = Egress([f"allowed.test:{plain.port}"])
    with World(egress, {"allowed.test": ["8.8.8.8"]}, own=lambda address: True) as world, world.connect() as sock:
        assert b" 403 " in tunnel(sock, f"allowed.test:{plain.port}")
        assert b"of this machine" in everything(sock)


FIRST = {
    "another host": hello("other.test"),
    "no SNI": hello(None),
    "a name that begins so": hello("allowed.test.evil.test"),
    "http": b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n",
    "ssh": b"SSH-2.0-x\r\n",
    "another CONNECT": b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("what", FIRST)
def test_a_tunnel_to_a_name_carries_tls_for_that_name_alone(what):
    with Server() as server:  # that would take anything
        with World(local(server.port, f"allowed.test:{server.port}"), {"allowed.test": ["127.0.0.1"]}) as world:
            with world.connect() as sock:
                assert tunnel(sock, f"allowed.test:{server.port}") == CONNECTED
                sock.sendall(FIRST[what])
                if not FIRST[what]:
                    sock.shutdown(socket.SHUT_WR)
                assert everything(sock) == b"RESET"
            (row,) = world.rows()
            assert row.why
            assert (row.allowed, row.bytes_out) == (what == "nothing", 0)
            assert b"".join(server.got) == b""


def test_a_tunnel_to_a_listed_address_carries_anything(raw, plain):
    with raw.connect() as sock:
        assert tunnel(sock, f"127.0.0.1:{plain.port}") == CONNECTED
        sock.sendall(b"SSH-2.0-x\r\n")
        assert sock.recv(100) == b"SSH-2.0-x\r\n"
        sock.shutdown(socket.SHUT_WR)  # half of it: the server ends, too, and in order
        assert everything(sock) == b""
    (row,) = raw.rows()
    assert (row.why, row.bytes_in, row.bytes_out) == ("", 11, 11)


def test_connected_means_connected():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        port = closed.getsockname()[1]
        with World(local(port, f"gone.test:{port}"), {"slow.test": 1.0}) as world:
            for target, status in ((f"127.0.0.1:{port}", b"502"), (f"gone.test:{port}", b"502")):
                with world.connect() as sock:
                    assert tunnel(sock, target).split()[1] == status
            unknown, refused = sorted(world.rows(2), key=lambda row: row.allowed)
            assert refused.allowed
            assert "Connection refused" in refused.why
            assert "no address" in unknown.why


def test_a_resolver_that_does_not_answer_is_told(monkeypatch):
    monkeypatch.setattr(connection, "LOOKUP_S", 0.2)
    with World(Egress(["slow.test"]), {"slow.test": 60.0}) as world, world.connect() as sock:
        assert tunnel(sock, "slow.test:443").split()[1] == b"504"


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_a_head_is_bounded(raw, end):
    with raw.connect() as sock:
        sock.sendall(b"CONNECT allowed.test:443 HTTP/1.1\r\n" + b"X: " + b"y" * 20_000 + end)
        assert b" 431 " in head(sock)
    assert "8192" in raw.rows()[0].why


def test_plain_http_is_one_request_of_the_proxys_writing():
    with (
        Server(http(b"index")) as server,
        World(local(server.port, f"plain.test:{server.port}"), {"plain.test": ["127.0.0.1"]}) as world,
    ):
        target = f"http://plain.test:{server.port}"
        with world.connect() as sock:
            sock.sendall(
                f"GET {target}/simple?q HTTP/1.1\r\nHost: evil.test\r\nConnection: keep-alive\r\nA: b\r\n\r\n"
                f"GET http://evil.test/smuggled HTTP/1.1\r\n\r\n".encode()
            )
            assert everything(sock).endswith(b"\r\n\r\nindex")
        assert b"".join(server.got) == (
            f"GET /simple?q HTTP/1.1\r\nHost: plain.test:{server.port}\r\nA: b\r\nConnection: close\r\n\r\n".encode()
        )
        (row,) = world.rows()
        assert (row.host, row.port, row.allowed, row.why) == ("plain.test", server.port, True, "")
        for other in (
            f"http://other.test:{server.port}/",
            f"http://127.0.0.1.:{server.port}/",
            "http://plain.test/",
            "http://[::1]/",
        ):
            with world.connect() as sock:
                sock.sendall(f"GET {other} HTTP/1.1\r\nHost: plain.test\r\n\r\n".encode())
                assert head(sock).split()[1] in (b"400", b"403")
        assert server.connections == 1


def test_a_body_is_as_long_as_its_head_says():
    bodies = []

    def talk(sock):
        data = head(sock)
        length, body = int(data.split(b"Content-Length: ")[1].split()[0]), b""
        with contextlib.suppress(ConnectionError):
            while len(body) < length and (part := sock.recv(1 << 16)):
                body += part
        if len(body) == length:
            sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
        bodies.append(body + everything(sock).removesuffix(b"RESET"))

    with Server(talk) as server, World(local(server.port)) as world:
        for size, sent in ((5, 9), (300_000, 300_009), (7, 3)):
            with world.connect() as sock:
                told = f"POST http://127.0.0.1:{server.port}/ HTTP/1.1\r\nContent-Length: {size}\r\n\r\n"
                sock.sendall(told.encode() + b"b" * sent)
                if sent < size:  # in the middle: no server takes it to be whole
                    sock.shutdown(socket.SHUT_WR)
                assert everything(sock) == (b"RESET" if sent < size else b"HTTP/1.1 204 No Content\r\n\r\n")
        assert until(lambda: len(bodies) == 3)
        cut, *whole = sorted(bodies, key=len)  # the server has a thread for each
        assert whole == [b"b" * 5, b"b" * 300_000] and b"bbb".startswith(cut)  # what is on its way, a reset takes away
        assert ["middle" in row.why for row in world.rows(3)] == [False, False, True]


def test_a_redirect_is_the_programs_to_follow_and_judged_again():
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/\r\n"
    with Server(http(b"", answer)) as server, World(local(server.port)) as world:
        with world.connect() as sock:
            sock.sendall(f"GET http://127.0.0.1:{server.port}/ HTTP/1.1\r\n\r\n".encode())
            assert b"169.254.169.254" in everything(sock)
        with world.connect() as sock:
            sock.sendall(b"GET http://169.254.169.254/latest/ HTTP/1.1\r\n\r\n")
            assert b" 403 " in head(sock)
