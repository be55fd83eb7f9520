"""Programs in a network namespace of their own, with nothing but lo: they reach what the list names, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyjail import Contacts
from pyjail._egress.link import Link
from tests.conftest import SLOW
from tests.inside import Egress
from tests.jail.egress.namespace import program, unshare
from tests.jail.egress.world import CERTIFICATE, Server

pytestmark = pytest.mark.skipif(
    subprocess.run([*unshare(), "true"], capture_output=True, check=False).returncode != 0,
    reason="this user may not have a network namespace here",
)


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link()
    yield made
    made.close()


def run(link: Link, egress: Egress, *args: str, **env: str) -> tuple[int, str, Contacts]:
    """(status, output, what was reached) of a program with this egress."""
    with program(*args, **env) as (process, listening, go):
        number = link.serve(listening, egress)
        go.send(b"x")
        out, _ = process.communicate(timeout=60 * SLOW)
        return process.returncode, out.decode(), link.end(number)


def pages(**found: bytes) -> Callable[[Any], None]:
    """An https server's answers, by the last part of the path."""

    def talk(sock: Any) -> None:
        data = b""
        while b"\r\n\r\n" not in data and (part := sock.recv(4096)):
            data += part
        name = data.split()[1].decode().rstrip("/").rpartition("/")[2]
        body, status = found.get(name), "200 OK"
        if body is None:
            body, status = b"", "404 Not Found"
        kind = "text/html" if body.startswith(b"<") else "application/octet-stream"
        told = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        sock.sendall(told.encode() + body)

    return talk


def wheel(directory: Path) -> bytes:
    """A wheel of nothing but its name."""
    path = directory / "nothing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("nothing.py", "x = 1\n")
        out.writestr("nothing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: nothing\nVersion: 1.0\n")
        out.writestr(
            "nothing-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        digest = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).rstrip(b"=").decode()
        out.writestr("nothing-1.0.dist-info/RECORD", f"nothing.py,sha256={digest},6\n")
    return path.read_bytes()


def allowed(port: int) -> Egress:
    return Egress([f"localhost:{port}", f"127.0.0.0/8:{port}", f"::1/128:{port}"])


def test_pip_downloads_from_the_one_index_that_is_listed(link, tmp_path):
    data = wheel(tmp_path)
    name = "nothing-1.0-py3-none-any.whl"
    index = f'<!DOCTYPE html><a href="{name}#sha256={hashlib.sha256(data).hexdigest()}">{name}</a>'.encode()
    with Server(pages(nothing=index, **{name: data}), tls=True) as server:
        target = tmp_path / "out"
        pip = [sys.executable, "-m", "pip", "--isolated", "download", "--no-cache-dir", "--disable-pip-version-check", "--no-deps",
               "--retries", "0", "-d", str(target), "nothing", "--index-url"]  # fmt: skip
        url = f"https://localhost:{server.port}/simple/"
        status, out, report = run(link, allowed(server.port), *pip, url, REQUESTS_CA_BUNDLE=str(CERTIFICATE))
        assert status == 0, out
        assert (target / name).read_bytes() == data
        assert {(row.host, row.port, row.allowed) for row in report.rows} == {("localhost", server.port, True)}
        before = server.connections
        status, out, report = run(link, Egress(["pypi.org"]), *pip, url)
        assert status != 0
        assert "no rule names it" in report.rows[0].why
        assert {(row.host, row.allowed, row.bytes_in) for row in report.rows} == {("localhost", False, 0)}
        assert server.connections == before


OUTSIDE = """
import socket, sys, errno
for name in ("localhost", "one.one.one.one"):
    try:
        print(name, socket.getaddrinfo(name, 80)[0][4][0])
    except OSError as e:
        print(name, "unknown")
for address in (("127.0.0.1", int(sys.argv[1])), ("8.8.8.8", 53), ("169.254.169.254", 80)):
    try:
        socket.create_connection(address, 5).close()
        print("connected")
    except OSError as e:
        print(errno.errorcode.get(e.errno))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    s.sendto(b"x", ("8.8.8.8", 53))
    print("sent")
except OSError as e:
    print(errno.errorcode[e.errno])
print(sorted(n for _, n in socket.if_nameindex()))
"""


def test_what_ignores_the_proxy_reaches_nothing(link):
    with Server() as server:
        status, out, report = run(link, allowed(server.port), sys.executable, "-I", "-c", OUTSIDE, str(server.port))
        assert status == 0, out
        lines = out.splitlines()
        assert lines[1:6] == ["one.one.one.one unknown", "ECONNREFUSED", "ENETUNREACH", "ENETUNREACH", "ENETUNREACH"]
        assert "lo" in lines[6]
        assert "eth" not in lines[6]
        assert report.rows == ()
        assert server.connections == 0


def test_no_fd_of_it_is_in_the_program(link):
    code = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if os.path.lexists(f'/proc/self/fd/{n}')])"
    status, out, _ = run(link, Egress(), sys.executable, "-I", "-c", code)
    assert status == 0, out
    assert "socket:" not in out


HELD = """
import socket, sys, time
s = socket.create_connection(("127.0.0.1", 3128), 10)
s.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\\r\\n\\r\\n" % int(sys.argv[1]))
print(s.recv(100)[:12].decode(), flush=True)
try:
    print(s.recv(1))
except ConnectionResetError:
    print("reset")
for _ in range(1000):  # what dies closes one after the other
    try:
        socket.create_connection(("127.0.0.1", 3128), 10).close()
    except ConnectionRefusedError:
        print("refused")
        break
    time.sleep(0.01)
"""


def test_a_proxy_that_is_killed_is_a_reset_in_the_jail_and_nothing_listens_any_more(link):
    with Server() as server, program(sys.executable, "-I", "-c", HELD, str(server.port)) as (process, listening, go):
        number = link.serve(listening, allowed(server.port))
        go.send(b"x")
        assert process.stdout is not None
        assert process.stdout.readline() == b"HTTP/1.1 200\n"
        with open("/dev/null") as other:
            os.dup2(other.fileno(), listening)  # as the embedder does, who closes it
        os.kill(link.pid, 9)
        out, _ = process.communicate(timeout=60 * SLOW)
        assert out == b"reset\nrefused\n"
        assert "proxy ended" in link.end(number).rows[0].why


def test_curl_meets_a_403_and_no_name(link):
    status, out, _ = run(link, Egress(["pypi.org"]), "sh", "-c",
        "command -v curl >/dev/null || exit 99; curl -sS https://example.org/; echo $?; curl -sS --noproxy '*' https://pypi.org/; echo $?")  # fmt: skip
    if status == 99:
        pytest.skip("curl is missing: install it to test its programs")
    assert "403" in out, out
    assert out.splitlines()[-1] == "6"  # could not resolve
