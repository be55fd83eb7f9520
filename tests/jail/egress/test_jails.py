"""`Jail(network=Egress([...]))`: what a program may try to reach more than the list names, from inside a jail."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterator

import pytest

import pyjail
from pyjail import Egress, Jail
from tests.inside import egress_link
from tests.jail.egress.jails import answers, connects, jail, nobody_served, own_address, python, status
from tests.jail.egress.world import PATIENCE, Server, World, http, until


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(http(b"secret")) as made:
        yield made


@pytest.fixture(autouse=True)
def nobody_is_served_afterwards() -> Iterator[None]:
    yield
    assert until(nobody_served)
    pyjail.close()
    assert egress_link().runs == set()


# ---- what the list says ----


def test_what_is_listed_is_reached_and_told(server):
    of = jail(f"127.0.0.0/8:{server.port}")
    (tunnel, plain), told = answers(
        of,
        [*connects(f"127.0.0.1:{server.port}"), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
        f"GET http://127.0.0.1:{server.port}/ HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    assert tunnel.startswith("HTTP/1.1 200 Connection established")
    assert tunnel.endswith("secret")
    assert plain.startswith("HTTP/1.1 200 OK")
    assert plain.endswith("secret")
    assert [(row.host, row.port, row.allowed, row.rule) for row in told.rows] == [
        ("127.0.0.1", server.port, True, f"127.0.0.0/8:{server.port}")
    ] * 2


def test_an_empty_list_refuses_all_and_says_so(server):
    found, told = answers(jail(), *connects("pypi.org:443", f"127.0.0.1:{server.port}"))
    assert [status(one) for one in found] == ["403"] * 2
    assert "no rule names it (rules: none: nothing is allowed)" in found[0]
    assert [(row.allowed, row.bytes_in, row.bytes_out) for row in told.rows] == [(False, 0, 0)] * 2
    assert server.connections == 0


def test_a_refusal_names_the_host_and_the_rules(server):
    (found,), _ = answers(jail("pypi.org", "*.a.test:8443"), *connects(f"evil.test:{server.port}"))
    assert f"evil.test:{server.port} is refused: no rule names it (rules: pypi.org, *.a.test:8443)" in found


# ---- ways around it ----


LOCAL = [
    "127.0.0.1", "127.1", "127.0.1", "0", "0.0.0.0", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001",
    "127.0.0.1.", "127.000.000.001", "[::1]", "::1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[0:0:0:0:0:0:0:1]",
    "[::1%lo]", "[::1%25lo]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "localhost", "localhost.", "LOCALHOST", "localhost.localdomain",
    "ip6-localhost", "127.0.0.1%00.allowed.test", "127.0.0.1\\0.allowed.test", "①②⑦.0.0.1", "127。0。0。1", "%31%32%37.0.0.1",
]  # fmt: skip


def test_no_way_to_write_this_machine_reaches_it(server):
    """Whatever is allowed beside it: names, and all that is public."""
    of = jail(
        f"allowed.test:{server.port}",
        f"*.allowed.test:{server.port}",
        f"0.0.0.0/0:{server.port}",
        f"::/0:{server.port}",
    )
    targets = [f"{host}:{server.port}".encode().decode("latin-1") for host in LOCAL]
    found, told = answers(of, *connects(*targets), *[f"GET http://{target}/ HTTP/1.1\r\n\r\n" for target in targets])
    assert {status(one) for one in found} <= {"400", "403", "502"}
    assert "secret" not in "".join(found)
    assert len(told.rows) == len(found)
    assert sum(row.bytes_in + row.bytes_out for row in told.rows) == 0
    assert server.connections == 0


SPECIAL = ["169.254.169.254", "169.254.170.2", "168.63.129.16", "[fd00:ec2::254]", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1",
           "224.0.0.1", "255.255.255.255", "[fe80::1]", "[ff02::1]", "[fc00::1]", "192.0.2.1", "198.18.0.1"]  # fmt: skip


def test_a_rule_for_all_addresses_opens_no_special_one():
    of = jail("0.0.0.0/0:80", "::/0:80", "0.0.0.0/0", "::/0")
    found, _ = answers(of, *connects(*[f"{host}:{port}" for host in SPECIAL for port in (80, 443)]))
    assert {status(one) for one in found} == {"403"}
    assert all("a network rule for port" in one for one in found), found


def test_this_machines_own_addresses_are_no_way_in(server):
    own = own_address()
    if not own:
        pytest.skip("this machine has no address but those of lo")
    found, _ = answers(jail(f"0.0.0.0/0:{server.port}"), *connects(f"{own}:{server.port}"))
    assert status(found[0]) == "403"
    assert server.connections == 0


def test_another_port_is_another_host(server):
    with Server(http(b"secret")) as other:
        of = jail(f"127.0.0.0/8:{server.port}")
        ports = [
            f"127.0.0.1:{other.port}", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:443", f"127.0.0.1:0{server.port}",
            f"127.0.0.1:+{server.port}", f"127.0.0.1:{server.port + 65536}", f"127.0.0.1:{server.port}:{other.port}",
            f"127.0.0.1:{server.port}/../:{other.port}", f"127.0.0.1:{server.port}@127.0.0.1:{other.port}", f"127.0.0.1:-{other.port}",
            f"127.0.0.1: {other.port}", f"127.0.0.1:{server.port}\t{other.port}", f"127.0.0.1:{server.port}#:{other.port}",
        ]  # fmt: skip
        found, _ = answers(of, *connects(*ports))
        assert {status(one) for one in found} <= {"400", "403"}
        assert (other.connections, server.connections) == (0, 0)


def test_no_form_of_a_listed_name_is_another_one():
    names = [
        "allowed.test.:443", "allowed.test..:443", ".allowed.test:443", "user@allowed.test:443", "user:pw@allowed.test:443",
        "evil.test@allowed.test:443", "allowed.test@evil.test:443", "allowed.test:443@evil.test:443", "allowed.test%2eevil.test:443",
        "allowed.test/evil.test:443", "allowed.test\\evil.test:443", "allowed.test.evil.test:443", "notallowed.test:443",
        "xn--allowed-test:443", "xn--.test:443", "aIIowed.test:443", "all\u043ewed.test:443".encode().decode("latin-1"),
        "allowed\N{MIDDLE DOT}test:443", "allowed.test,evil.test:443", "allowed.test;evil.test:443", "[allowed.test]:443", "*:443",
        "*.allowed.test:443", "allowed.test\0:443", "http://allowed.test:443", "//allowed.test:443", "-allowed.test:443",
    ]  # fmt: skip
    found, told = answers(jail("allowed.test"), *connects(*names))
    assert {status(one) for one in found} <= {"400", "403"}, list(zip(names, found, strict=True))
    assert not any(row.allowed for row in told.rows)


def test_a_request_that_comes_in_pieces_is_one_request(server):
    of = jail(f"127.0.0.0/8:{server.port}")
    whole = connects(f"127.0.0.1:{server.port}")[0]
    evil = connects("evil.test:443")[0]
    found, told = answers(of, list(whole + "GET / HTTP/1.1\r\n\r\n"), list(evil), [whole[:30], evil[5:]])
    assert found[0].endswith("secret")
    assert status(found[1]) == "403"
    assert status(found[2]) in ("400", "403")
    assert [row.allowed for row in told.rows] == [True, False, False]


def test_a_second_request_on_a_connection_goes_nowhere(server):
    """Neither behind plain http, nor in its body, nor behind a refusal."""
    with Server(http(b"other")) as other:
        of = jail(f"127.0.0.0/8:{server.port}")
        first = f"GET http://127.0.0.1:{server.port}/ HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n"
        second = f"GET http://127.0.0.1:{other.port}/ HTTP/1.1\r\nHost: x\r\n\r\n"
        found, _ = answers(
            of,
            first + "\r\n" + second,
            [first + "\r\n", second, second],
            first + f"Content-Length: {len(second)}\r\n\r\n" + second + second,
            first + "Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + second,
            first + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
            [*connects("evil.test:443"), second],
            [first.replace("\r\n", "\n") + "\n", second],
        )
        assert all("other" not in one for one in found)
        assert [status(one) for one in found[3:]] == ["400", "411", "403", "400"]
        assert other.connections == 0
        assert b"GET http" not in b"".join(server.got[:2])


def test_a_redirect_is_not_followed_by_the_proxy(server):
    where = f"Location: http://127.0.0.1:{server.port}/\r\n"
    with Server(http(b"moved", f"HTTP/1.1 302 Found\r\n{where}".encode())) as moved:
        of = jail(f"127.0.0.0/8:{moved.port}")
        code = "import urllib.request as u\ntry: print(u.urlopen(sys.argv[1]).read())\nexcept OSError as e: print(e)"
        r = python(code, f"http://127.0.0.1:{moved.port}/", of=of, env={"no_proxy": ""})
        assert "403" in r.stdout, (r.stdout, r.stderr)
        assert server.connections == 0


def test_who_speaks_no_http_is_told_so_and_the_proxy_is_no_relay(server):
    of = jail(f"127.0.0.0/8:{server.port}")
    found, told = answers(
        of,
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        "\x05\x01\x00\r\n\r\n",
        "\x04\x01" + server.port.to_bytes(2, "big").decode("latin-1") + "\x7f\0\0\x01\0\r\n\r\n",
        f"CONNECT 127.0.0.1:{server.port} HTTP/2.0\r\n\r\n",
        f"connect 127.0.0.1:{server.port} HTTP/1.1\r\n\r\n",
        f"CONNECT  127.0.0.1:{server.port} HTTP/1.1\r\n\r\n",
        f"GET https://127.0.0.1:{server.port}/ HTTP/1.1\r\n\r\n",
        f"GET ftp://127.0.0.1:{server.port}/ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "\r\n\r\n",
        "x" * 20000,
    )
    assert {status(one) for one in found} <= {"400", "431", " ConnectionResetError"}, found
    assert server.connections == 0
    assert not any(row.allowed for row in told.rows)


# ---- names ----


@contextlib.contextmanager
def resolver(monkeypatch: pytest.MonkeyPatch, of: Jail, found: dict[str, object]) -> Iterator[World]:
    """Runs of this jail are served by a proxy that is told these addresses."""
    assert isinstance(of.network, Egress)
    link = egress_link()
    with World(of.network, found) as world:

        def serve(listening: int, egress: Egress, number: int) -> int:
            world.call(world.proxy.serve, number, socket.socket(fileno=os.dup(listening)), egress)
            return number

        with monkeypatch.context() as patch:
            patch.setattr(link, "serve", serve)
            yield world


def ip(*addresses: str) -> list[object]:
    return [ipaddress.ip_address(one) for one in addresses]


def test_an_answer_that_is_private_in_part_is_no_answer(monkeypatch, server):
    """Also where what is public comes first, and where the second lookup would tell something else: there is none."""
    of = jail(
        f"mixed.test:{server.port}", f"local.test:{server.port}", f"six.test:{server.port}", f"none.test:{server.port}"
    )
    names = {
        "mixed.test": ip("8.8.8.8", "127.0.0.1"),
        "local.test": ip("127.0.0.1"),
        "six.test": ip("2606:4700::1", "::ffff:127.0.0.1"),
    }
    with resolver(monkeypatch, of, names) as world:
        found, _ = answers(of, *connects(*[f"{name}:{server.port}" for name in (*names, "none.test")]))
        assert [status(one) for one in found[:3]] == ["403"] * 3, found
        assert "loopback (127.0.0.0/8)" in found[0]
        assert status(found[3]) == "502"
        assert world.asked == [*names, "none.test"]
    assert server.connections == 0


def test_a_name_that_is_not_listed_is_not_looked_up(monkeypatch):
    of = jail("allowed.test")
    with resolver(monkeypatch, of, {}) as world:
        found, _ = answers(of, *connects("secret-data.evil.test:443", "allowed.test:80"))
        assert [status(one) for one in found] == ["403"] * 2
        assert world.asked == []


def test_a_name_is_spoken_to_by_tls_of_that_name(monkeypatch):
    code = """
import ssl
port, names = int(sys.argv[1]), sys.argv[2:]
for asked, name in zip(names[::2], names[1::2]):
    with connect() as sock:
        sock.sendall(head(f"{asked}:{port}").encode())
        got = sock.recv(65536).split()[1].decode()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with context.wrap_socket(sock, server_hostname=name) as inner:
                inner.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
                print(got, inner.recv(100)[:12].decode())
        except OSError as e:
            print(got, type(e).__name__)
"""
    with Server(lambda sock: sock.recv(4096) and sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n"), tls=True) as server:
        of = jail(f"allowed.test:{server.port}", f"127.0.0.0/8:{server.port}")
        with resolver(monkeypatch, of, {"allowed.test": ip("127.0.0.1")}):
            r = python(code, str(server.port), "allowed.test", "allowed.test", "allowed.test", "other.test", of=of)
    assert r.stdout.splitlines()[0] == "200 HTTP/1.1 200", (r, r.stdout, r.stderr)
    assert r.stdout.splitlines()[1] != "200 HTTP/1.1 200"


# ---- beside each other ----


def test_two_jails_have_each_their_own_list(server):
    """At the same time, one keeper after the other's, in turns: whose socket it is says what may be reached."""
    with Server(http(b"other")) as other:
        lists = {server.port: jail(f"127.0.0.0/8:{server.port}"), other.port: jail(f"127.0.0.0/8:{other.port}")}
        ask = [one + "GET / HTTP/1.1\r\n\r\n" for one in connects(*[f"127.0.0.1:{port}" for port in lists])]
        for port in [*lists] * 3:
            found, told = answers(lists[port], *ask)
            assert [status(one) for one in found] == ["200" if one == port else "403" for one in lists]
            assert [row.allowed for row in told.rows] == [one == port for one in lists]


def test_a_size_that_is_used_up_is_a_reset_and_no_end(server):
    with Server(http(b"x" * (1 << 20))) as much:
        of = jail(f"127.0.0.0/8:{much.port}", size=1 << 16)
        (found,), told = answers(of, [*connects(f"127.0.0.1:{much.port}"), "GET / HTTP/1.1\r\n\r\n"])
        assert found.endswith("ConnectionResetError")
        assert len(found) < 1 << 17
        assert "65536 bytes" in told.rows[0].why or "size" in told.rows[0].why, told.rows


def test_default_is_none_still():
    r = pyjail.run(["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 3128))"])
    assert r.exit_code == 1
    assert r.egress is None
    assert PATIENCE > 0
