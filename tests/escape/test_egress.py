"""What a program with a way out makes of it: for itself, for the next run, for its neighbour."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

import pyjail
from pyjail import Jail, Limits, Session, Verdict
from tests.conftest import SLOW
from tests.host_side import left_over
from tests.inside import Egress

LIMITS = Limits(wall_time=30 * SLOW, cpu_time=20 * SLOW, processes=64)
LIST = Egress(["allowed.test"], connections=8)
ASK = """
import os, socket, sys, time
def ask(host="refused.test"):
    s = socket.create_connection(("127.0.0.1", 3128), timeout=60)
    s.sendall(f"CONNECT {host}:443 HTTP/1.1\\r\\nHost: {host}:443\\r\\n\\r\\n".encode())
    return s.recv(4096).split(b"\\r\\n")[0].decode()
"""
REFUSED = "HTTP/1.1 403 Forbidden"


def run(code: str, where: Any = pyjail, **more: Any) -> pyjail.Result:
    if where is pyjail:
        more["jail"] = Jail(network=LIST, **more.pop("jail", {}))
    result: pyjail.Result = where.run([sys.executable, "-I", "-c", ASK + code], limits=LIMITS, text=True, **more)
    return result


def asks(where: Any = pyjail) -> None:
    """A run that is as it should be."""
    r = run("print(ask())", where)
    assert (r.ok, r.stdout.strip()) == (True, REFUSED), r
    assert r.egress is not None
    assert [(c.host, c.port, c.allowed) for c in r.egress.rows] == [("refused.test", 443, False)]


@pytest.mark.parametrize("policy", [{}, {"seccomp": "none", "landlock": False, "proc": "full"}])
def test_nobody_else_listens_in_its_place(policy):
    code = """
taken = []
for family, at in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, ""), (socket.AF_INET6, "::"), (socket.AF_INET6, "::ffff:127.0.0.1"):
    for options in (), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        try:
            s = socket.socket(family)
            for option in options: s.setsockopt(socket.SOL_SOCKET, option, 1)
            s.bind((at, 3128))
            s.listen()
            taken.append((at, options))
        except OSError: pass
print(taken, ask())
"""
    r = run(code, jail=policy)
    assert (r.stderr, r.stdout) == ("", f"[] {REFUSED}\n")


def test_there_is_no_other_way():
    code = """
found = []
for family, kind, to in (
    (socket.AF_INET, socket.SOCK_STREAM, ("1.1.1.1", 443)), (socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80)),
    (socket.AF_INET, socket.SOCK_DGRAM, ("1.1.1.1", 53)), (socket.AF_INET6, socket.SOCK_STREAM, ("2606:4700::1111", 443)),
    (socket.AF_INET, socket.SOCK_RAW, ("1.1.1.1", 0)), (socket.AF_PACKET, socket.SOCK_RAW, ("lo", 0)),
    (40, socket.SOCK_STREAM, (2, 443)), (socket.AF_UNIX, socket.SOCK_STREAM, "\\0/tmp/.X11-unix/X0")):
    try:
        s = socket.socket(family, kind); s.settimeout(2); s.connect(to) if family != socket.AF_PACKET else s.bind(to)
        found.append(to)
    except OSError: pass
print(found, sorted(os.listdir("/sys/class/net")) if os.path.exists("/sys/class/net") else [l.split(":")[0].strip() for l in open("/proc/self/net/dev")][2:])
for path in "/proc/1/ns/net", "/proc/1/fd", "/proc/1/net/tcp":
    try: os.listdir(path) if path.endswith("fd") else open(path).read(); print(path)
    except OSError: pass
"""
    r = run(code, jail={"seccomp": "none", "landlock": False, "proc": "full"})
    assert (r.stderr, r.stdout) == ("", "[] ['lo']\n")


MUCH = {
    "connections that say nothing": "kept = []\ntry:\n    for i in range(900): kept.append(socket.create_connection(('127.0.0.1', 3128), timeout=1))\nexcept OSError: pass",
    "connections that are reset": "import struct\nfor i in range(300):\n    try:\n        s = socket.create_connection(('127.0.0.1', 3128), timeout=1)\n        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n        s.close()\n    except OSError: pass",
    "lines without an end": "s = socket.create_connection(('127.0.0.1', 3128))\ntry:\n    while True: s.sendall(b'x' * 65536)\nexcept OSError: pass",
    "processes that stay": "for i in range(20):\n    if not os.fork():\n        os.setsid(); ask(); time.sleep(1000)\ntime.sleep(0.2)",
    "a connection in a circle": "s = socket.create_connection(('127.0.0.1', 3128))\na, b = socket.socketpair()\nsocket.send_fds(a, [b'x'], [a.fileno(), b.fileno(), s.fileno()])\nsocket.send_fds(b, [b'x'], [a.fileno(), b.fileno(), s.fileno()])",
    "listeners on all ports": "kept = []\ntry:\n    for p in range(1024, 1900): s = socket.socket(); s.bind(('127.0.0.1', p)); s.listen(); kept.append(s)\nexcept OSError: pass",
}  # fmt: skip


@pytest.mark.parametrize("what", MUCH)
def test_what_a_program_does_to_its_way_out_is_over_with_it(what):
    """The next run, in the same keeper or the same session, has one of its own, and its own contacts only."""
    asks()
    for _ in range(2):
        r = run(MUCH[what])
        assert r.verdict in (Verdict.OK, Verdict.RUNTIME_ERROR), r
        asks()
    pyjail.close()
    left = left_over()
    with Session(jail=Jail(network=LIST)) as s:
        run(MUCH[what], s)
        asks(s)
        asks(s)
    pyjail.close()  # the proxy, too
    assert left_over() == left


def test_neighbours_have_ways_out_of_their_own():
    """While one uses up all that its proxy gives a run, another is served; neither sees the other's ports."""
    hog = "kept = [socket.create_connection(('127.0.0.1', 3128), timeout=30) for i in range(8)]\nl = socket.create_server(('127.0.0.1', 7777))\nprint('ready', flush=True)\ntime.sleep(1000)"
    with pyjail.start([sys.executable, "-I", "-c", ASK + hog], LIMITS, jail=Jail(network=LIST)) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == b"ready\n"
        threads = [threading.Thread(target=asks) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60 * SLOW)
        asks()
        r = run("try: socket.create_connection(('127.0.0.1', 7777), timeout=5); print('reached')\nexcept OSError: pass")
        assert (r.ok, r.stdout) == (True, "")
        p.kill()
    assert p.result is not None and p.result.egress is not None
    assert all(not c.allowed for c in p.result.egress.rows)
