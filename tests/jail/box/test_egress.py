"""A box with an `Egress`: one way out for all its programs, from its start to its end, told by `Box.egress`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

import pyjail
from pyjail import Box, Contacts, Egress, Jail, SetupError, aio
from tests.inside import egress_link
from tests.instants import Instant, Interrupted, Unharmed, every
from tests.jail.box.programs import LIMITS
from tests.scripts import until

NONE = Jail(network=Egress([]))
ASK = """
import socket, sys
for port in sys.argv[1:]:
    with socket.create_connection(("127.0.0.1", 3128), 30) as s:
        s.sendall(b"CONNECT host.test:%s HTTP/1.1\\r\\n\\r\\n" % port.encode())
        print(s.recv(12).decode())
"""
REFUSED = b"HTTP/1.1 403\n"


def ask(*ports: int) -> list[str]:
    return ["python3", "-c", ASK, *map(str, ports)]


def ports(contacts: Contacts | None) -> list[int]:
    assert contacts is not None
    return [row.port for row in contacts.rows]


@pytest.fixture
def link():
    made = egress_link()
    yield made
    assert until(lambda: made.runs == set())
    assert made.asked == {}


@pytest.fixture
def box(link):
    with Box(NONE, LIMITS) as made:
        yield made


def test_all_programs_of_a_box_have_one_proxy_and_the_box_tells_of_it(box):
    assert box.egress == Contacts()
    results = [box.run(ask(port)) for port in (1, 2)]
    assert [r.stdout for r in results] == [REFUSED] * 2
    assert [r.egress for r in results] == [None, None]
    assert ports(box.egress) == [1, 2]
    with box.start(ask(3, 4)) as p:
        p.wait()
    assert ports(box.egress) == [1, 2, 3, 4]
    assert not any(row.allowed for row in box.egress.rows)


def test_a_box_that_is_not_used_yet_or_closed_tells_it_too(link):
    box = Box(NONE, LIMITS)
    assert box.egress == Contacts()
    box.run(ask(7))
    box.close()
    assert ports(box.egress) == [7]
    assert box.to_dict()["egress"]["rows"][0]["port"] == 7


@pytest.mark.parametrize("network", ["none", "loopback"])
def test_a_box_without_one_has_none(network):
    with Box(Jail(network=network), LIMITS) as box:
        assert box.run(ask(1)).exit_code == 1
        assert box.egress is None
        assert box.to_dict()["egress"] is None


def test_what_is_left_in_the_background_reaches_it_after_its_program(box):
    script = 'import os, sys, time\nif os.fork(): os._exit(0)\nopen("left", "w").write("x")\nwhile not os.path.exists("go"): time.sleep(0.01)\n'
    box.run(["python3", "-c", script + ASK + "\nopen('done', 'w')\n", "9"], orphans="keep")
    assert ports(box.egress) == []
    box.write("go", "")
    assert until(lambda: ports(box.egress) == [9])


def test_the_programs_of_a_box_serve_each_other_beside_it(box):
    server = ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1"]
    with box.start(server) as p:
        get = "import time, urllib.request as u\nfor _ in range(500):\n  try: print(u.urlopen('http://127.0.0.1:8000/').status); break\n  except OSError: time.sleep(0.02)"
        assert box.run(["python3", "-c", get]).stdout == b"200\n"
        p.kill()
    assert box.egress == Contacts()


def test_a_proxy_that_is_killed_is_another_one_at_the_next_program(box, link):
    box.run(ask(1))
    with box.start(["sleep", "99"]) as beside:
        os.kill(link.pid, signal.SIGKILL)
        assert until(lambda: not os.path.exists(f"/proc/{link.pid}") or not link.started or box.run(ask(2)).ok)
        assert box.run(ask(3)).stdout == REFUSED
        assert beside.poll() is None
        beside.kill()
    told = box.egress
    assert "the egress proxy ended" in told.rows[0].why
    assert ports(told)[-1] == 3


CLOSED_OUTSIDE = ASK.replace("s.recv(12).decode()", "len(b''.join(iter(lambda: s.recv(4096), b'')))").replace(
    "sys.argv[1:]", "['1']"
)
LISTENS = """
import socket, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
while True:
    try: s.bind(("127.0.0.1", 3128)); s.listen(); break
    except OSError: time.sleep(0.01)
print("listens", flush=True)
time.sleep(1000)
"""


def test_connections_that_a_killed_proxy_had_closed_are_in_no_other_ones_way(box, link):
    """The kernel remembers them for a minute, at this address."""
    box.run(["python3", "-c", CLOSED_OUTSIDE])
    os.kill(link.pid, signal.SIGKILL)
    assert until(lambda: not os.path.exists(f"/proc/{link.pid}") or box.run(ask(2)).ok)
    assert box.run(ask(3)).stdout == REFUSED


def test_a_program_that_listens_where_no_proxy_does_is_told_with_what_ends_it(box, link):
    box.run(ask(1))
    with box.start(["python3", "-c", LISTENS]) as p:
        os.kill(link.pid, signal.SIGKILL)
        assert p.stdout.readline() == b"listens\n"
        with pytest.raises(SetupError, match=r"port.*Box\.kill"):
            box.run(ask(2))
        box.kill()
    assert box.run(ask(3)).stdout == REFUSED


def test_two_boxes_have_each_their_own(link):
    with Box(NONE, LIMITS) as one, Box(Jail(network=Egress(["a.test"])), LIMITS) as other:
        one.run(ask(1))
        other.run(ask(2))
        assert (ports(one.egress), ports(other.egress)) == ([1], [2])
        assert len(link.runs) == 2
        one.close()
        other.run(ask(3))
        assert (ports(one.egress), ports(other.egress)) == ([1], [2, 3])


def test_under_an_event_loop(link):
    async def main() -> None:
        async with aio.Box(NONE, LIMITS) as box:
            results = await asyncio.gather(*(box.run(ask(port)) for port in range(1, 9)))
            assert [r.stdout for r in results] == [REFUSED] * 8
            assert sorted(ports(box.egress)) == [*range(1, 9)]

    asyncio.run(main())


def test_what_pyjail_closes_is_told_and_leaves_nothing(link):
    box = Box(NONE, LIMITS)
    box.run(ask(5))
    pyjail.close()
    assert until(lambda: link.runs == set())
    assert box.egress is not None and len(box.egress.rows) == 1


@pytest.mark.parametrize("use", ["first", "end"])
def test_a_box_that_is_interrupted_leaves_nobody_served(link, use):
    def call() -> None:
        box = Box(NONE, LIMITS)
        try:
            box.run(["true"])
        finally:
            box.close()

    call()
    with Unharmed():
        for n in every(call, 80):
            with contextlib.suppress(Interrupted), Instant(n):
                call()
            pyjail.close()
            assert link.runs == set(), n
        call()


def test_a_proxy_whose_start_is_interrupted_is_waited_for(link):
    """At each step between its fork and the moment at which we have its pidfd."""

    def call() -> None:
        with Box(NONE, LIMITS) as box:
            box.run(["true"])

    with Instant(0, within="_spawn") as counted:
        call()
    assert counted.steps > 9
    with Unharmed():
        for n in range(1, counted.steps + 1):
            pyjail.close()
            with contextlib.suppress(Interrupted), Instant(n, within="_spawn"):
                call()
        call()
