"""What becomes of a network namespace of which the keeper could not learn what it wants to know."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator

import pytest

import pyjail
from pyjail import Jail, Limits
from tests.conftest import SLOW
from tests.native.failing import KEEPER, Failing, installed

pytestmark = pytest.mark.timeout(600)
LIMITS = Limits(wall_time=20 * SLOW, cpu_time=10 * SLOW)


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Failing]:
    with installed(tmp_path_factory.mktemp("keeper")) as found:
        yield found


CIRCLE = """
import socket
a, b = socket.socketpair()
named = socket.socket(socket.AF_UNIX)
named.bind("\\0left")
for one, other in (a, b), (b, a):
    socket.send_fds(one, [b"x"], [a.fileno(), b.fileno(), named.fileno()])
"""


def test_a_network_namespace_whose_sockets_could_not_be_counted_serves_no_other_run(failing):
    def inside(code: str) -> pyjail.Result:
        return pyjail.run([sys.executable, "-I", "-c", code], LIMITS, jail=Jail(network="loopback"), text=True)

    look = "print([line.split()[-1] for line in open('/proc/self/net/unix')][1:])"
    nth = 1
    while True:
        pyjail.close()
        failing.forget()
        assert inside("").ok  # a keeper of which each call is counted from here on
        failing.rest()
        with failing.one(KEEPER, nth, errno.EMFILE, "openat"):
            inside(
                "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); socket.create_connection(s.getsockname())"
            )
            failing.rest()
        if failing.failed() is None:
            break
        inside(CIRCLE)
        failing.rest()
        seen = inside(look)
        assert (seen.ok, seen.stdout) == (True, "[]\n"), nth
        nth += 1
    assert nth > 5
