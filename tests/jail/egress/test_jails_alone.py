"""`Jail(network=Egress([...]))`: what a program has beside its proxy, which is lo and nothing else."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.jail.egress.jails import jail, own_address, python
from tests.jail.egress.world import Server, http


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(http(b"secret")) as made:
        yield made


DIRECT = """
import errno, os, struct
port = int(sys.argv[1])

def tried(what, call):
    try:
        print(what, "reached", call() or "")
    except OSError as e:
        print(what, type(e).__name__ if e.errno is None else errno.errorcode.get(e.errno, e.errno))

def udp(address, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.sendto(b"x", address)
        s.recv(10)

for host in "127.0.0.1", "127.0.0.2", "0.0.0.0", "8.8.8.8", "169.254.169.254", "10.0.0.1", sys.argv[2]:
    tried(f"tcp {host}", lambda: connect((host, port), 2).close())
tried("tcp ::1", lambda: connect(("::1", port), 2).close())
tried("tcp 2606:4700::1", lambda: connect(("2606:4700::1", port), 2).close())
for host in "8.8.8.8", "224.0.0.1", "255.255.255.255":
    tried(f"udp {host}", lambda: udp((host, 53)))
tried("udp ff02::1", lambda: udp(("ff02::1", 53), socket.AF_INET6))
tried("dns", lambda: socket.getaddrinfo("pypi.org", 443))
tried("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
tried("packet", lambda: socket.socket(17, socket.SOCK_RAW))
tried("vsock", lambda: socket.socket(40, socket.SOCK_STREAM).connect((2, port)))
tried("bluetooth", lambda: socket.socket(31, socket.SOCK_RAW, 1))
tried("unix", lambda: socket.socket(socket.AF_UNIX).connect("\\0" + sys.argv[3]))
def netlink():
    with socket.socket(16, socket.SOCK_RAW, 0) as s:
        s.bind((0, 0))
        s.send(struct.pack("=IHHII", 32, 16, 5, 1, 0) + struct.pack("=BxHiII", 0, 0, 1, 0, 1))  # RTM_NEWLINK, lo
        code = struct.unpack("=i", s.recv(100)[16:20])[0]
        if code:
            raise OSError(-code, "")
tried("netlink", netlink)
"""


def test_what_goes_by_no_proxy_goes_nowhere(server):
    """There is lo, and nothing else: no route, no resolver, no socket of the host."""
    name = f"pyjail-test-{os.getpid()}"
    own = own_address() or "10.0.0.2"
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{name}")
        unix.listen()
        r = python(DIRECT, str(server.port), own, name, of=jail(f"127.0.0.0/8:{server.port}"))
    assert r.ok, (r, r.stderr)
    lines = r.stdout.splitlines()
    assert len(lines) == 20
    assert [line for line in lines if "reached" in line] == [], r.stdout
    assert "tcp 8.8.8.8 ENETUNREACH" in lines
    assert "tcp 127.0.0.1 ECONNREFUSED" in lines
    assert server.connections == 0
    assert r.egress is not None and r.egress.rows == ()


def test_the_program_has_no_fd_of_ours():
    code = (
        "import os\nprint(sorted(int(n) for n in os.listdir('/proc/self/fd') if os.path.lexists(f'/proc/self/fd/{n}')))"
    )
    r = python(code, of=jail())
    assert r.stdout == "[0, 1, 2]\n"


PORTS = """
def tried(address, option=None, then=""):
    s = socket.socket()
    if option:
        s.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        s.bind(address)
        s.listen()
        print("listens")
    except OSError as e:
        print(e.strerror)
    return s

kept = [tried(("127.0.0.1", 3128)), tried(("0.0.0.0", 3128)), tried(("127.0.0.1", 3128), socket.SO_REUSEPORT),
        tried(("0.0.0.0", 3128), socket.SO_REUSEPORT), tried(("0.0.0.0", 3128), socket.SO_REUSEADDR), tried(("127.0.0.2", 3128))]
print(answer([head("evil.test:443")])[:12])
"""


def test_the_port_is_the_proxys_whatever_a_program_binds():
    """A program that takes the same port at another of lo's addresses has that for itself."""
    r = python(PORTS, of=jail())
    assert r.stdout.splitlines() == [*["Address already in use"] * 5, "listens", "HTTP/1.1 403"], (r, r.stderr)


def test_the_programs_own_servers_work_beside_it(server):
    code = """
import http.server, threading, urllib.request as u
own = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=own.serve_forever, daemon=True).start()
for host in "127.0.0.1", "localhost":
    print(u.urlopen(f"http://{host}:{own.server_port}/").status)
try:
    u.urlopen("http://elsewhere.test/")
except OSError as e:
    print(e.code)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
    one.bind(("127.0.0.1", 0))
    other.sendto(b"x", one.getsockname())
    print(one.recv(1))
"""
    r = python(code, of=jail())
    assert r.stdout == "200\n200\n403\nb'x'\n", (r, r.stderr)
    assert r.egress is not None and [row.host for row in r.egress.rows] == ["elsewhere.test"]


def test_the_environment_names_the_proxy_unless_the_caller_does():
    names = ("http_proxy", "HTTPS_PROXY", "no_proxy", "NODE_USE_ENV_PROXY")
    code = f"import os\nprint(*[os.environ.get(n) for n in {names}])"
    assert python(code, of=jail()).stdout == "http://127.0.0.1:3128 http://127.0.0.1:3128 localhost,127.0.0.1,::1 1\n"
    told = python(code, of=jail(), env={"http_proxy": "x", "NODE_USE_ENV_PROXY": "0"}).stdout
    assert told == "x http://127.0.0.1:3128 localhost,127.0.0.1,::1 0\n"
