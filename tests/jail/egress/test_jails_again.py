"""A network namespace that a run has left as it was serves the next one; one that was used does not. What another run could
tell of it."""

from __future__ import annotations

import json

import pytest

import pyjail
from pyjail import Jail
from tests.conftest import SLOW
from tests.jail.egress.jails import LIMITS, jail, python

LOOK = """
import os
found = {name: open(f"/proc/self/net/{name}").read() for name in os.listdir("/proc/self/net") if os.path.isfile(f"/proc/self/net/{name}")
         and os.access(f"/proc/self/net/{name}", os.R_OK)}
for name in "softnet_stat", "ptype", "protocols", "fib_triestat", "fib_trie", "stat", "sockstat", "sockstat6", "psched", "timer_list":
    found.pop(name, None)  # of the whole machine, or of memory that is
found["unix"] = found["unix"].count("\\n")
found["netlink"] = found["netlink"].count("\\n")
found["tcp"] = [line.split()[1:4] for line in found["tcp"].splitlines()]
print(json.dumps(found, sort_keys=True))
"""
# What a run does in its namespace, and whether that is seen there afterwards.
USED = {
    "a connection to the proxy": "answer([head('x.test:443')])",
    "connections to the proxy that nobody closes": "kept = [connect() for _ in range(50)]",
    "connections that nobody has accepted": "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(8)\nkept = [connect(s.getsockname()) for _ in range(5)]",
    "ports in TIME_WAIT": "s = socket.create_server(('127.0.0.1', 0))\nfor _ in range(20):\n    c = connect(s.getsockname()); a, _ = s.accept(); a.close(); c.close()",
    "a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.2', 9))",
    "a datagram of IPv6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('::1', 9))",
    "what was refused": "try: connect(('127.0.0.1', 9))\nexcept OSError: pass",
    "what has no route": "try: connect(('8.8.8.8', 53))\nexcept OSError: pass",
    "a datagram without a route": "try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))\nexcept OSError: pass",
    "a TCP socket in flight": "a, b = socket.socketpair(); t = socket.create_server(('127.0.0.1', 0))\n"
    "socket.send_fds(a, [b'x'], [t.fileno(), a.fileno(), b.fileno()]); socket.send_fds(b, [b'x'], [a.fileno(), b.fileno()])",
    "a name of Unix in flight": "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('\\0pyjail-left'); s.connect('\\0pyjail-left')\n"
    "socket.send_fds(s, [b'x'], [s.fileno()])",
}
UNUSED = {
    "nothing": "",
    "sockets that did nothing": "kept = [socket.socket(f, t) for f in (socket.AF_INET, socket.AF_INET6) for t in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]",
    "ports that were bound": "kept = [socket.create_server(('127.0.0.1', 0)) for _ in range(20)]",
    "a port that is the proxy's elsewhere": "kept = socket.create_server(('127.0.0.2', 3128))",
    "names of Unix": "kept = socket.socket(socket.AF_UNIX); kept.bind('\\0pyjail-left'); kept.listen()\nother = socket.socket(socket.AF_UNIX); other.connect('\\0pyjail-left')",
    "a group": "import struct\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ntry: s.setsockopt(0, 35, socket.inet_aton('224.0.0.251') + socket.inet_aton('127.0.0.1'))\nexcept OSError: pass",
}  # fmt: skip
JAILS = {"egress": jail("a.test"), "loopback": Jail(network="loopback")}


def namespace(r: pyjail.Result) -> str:
    value: str = r.receipt["namespace net"].value
    return value


def look(of: Jail) -> dict[str, object]:
    r = python(LOOK, of=of)
    assert r.ok, r.stderr
    found: dict[str, object] = json.loads(r.stdout)
    return found


@pytest.fixture(params=JAILS)
def of(request):
    pyjail.close()
    return JAILS[request.param]


@pytest.mark.parametrize("what", USED)
def test_a_namespace_that_was_used_is_nobody_elses(of, what):
    if of.network == "loopback" and "proxy" in what:
        return  # there is none
    pristine = look(of)
    for _ in range(2):
        r = python(USED[what], of=of)
        assert r.ok, r.stderr
        after = python(LOOK, of=of)
        # What is in flight in a circle may be collected before that is looked at: then it is not there.
        assert namespace(after) != namespace(r) or "in flight" in what
        assert json.loads(after.stdout) == pristine


@pytest.mark.parametrize("what", UNUSED)
def test_a_namespace_that_was_left_as_it_was_shows_nothing_of_it(of, what):
    pristine = look(of)
    r = python(UNUSED[what], of=of)
    assert r.ok, r.stderr
    assert look(of) == pristine


def test_a_namespace_that_nobody_used_serves_the_next_run(of):
    pyjail.run(["true"], LIMITS, jail=of)
    seen = {namespace(pyjail.run(["true"], LIMITS, jail=of)) for _ in range(40)}
    assert len(seen) <= 4  # of some keepers


def test_who_was_ended_leaves_nothing_to_the_next(of):
    """His proxy may hold the port yet."""
    pristine = look(of)
    for code in "", "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.2', 9))":
        with pytest.raises(pyjail.TimeoutExpired):
            python(code + "\ntime.sleep(99)", of=of, timeout=1.0 * SLOW)
        assert look(of) == pristine
