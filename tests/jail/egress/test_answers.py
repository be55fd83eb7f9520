"""What the proxy is asked of a run: by an event loop, while the run lives, by who is slow, interrupted or out of fds."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pyjail import Contacts
from pyjail._egress import answer as answers
from pyjail._egress.link import Link
from tests.inside import Egress, current_loop, end_beside_keepers
from tests.jail.egress.world import PATIENCE, Server, everything, local, open_fds, tunnel, until


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link()
    yield made
    made.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


def served(link: Link, egress: Egress, backlog: int = 128) -> tuple[int, tuple[str, int]]:
    """The number of a run, and where its program connects to."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listening:
        return link.serve(listening.fileno(), egress), listening.getsockname()


def refused(address: tuple[str, int], port: int) -> None:
    """One connection that no rule allows, and its end."""
    with socket.create_connection(address, PATIENCE) as sock:
        assert b" 403 " in tunnel(sock, f"{'x' * 60}.{'y' * 60}.test:{port}")
        everything(sock)


def connects(address: tuple[str, int]) -> bool:
    with contextlib.suppress(ConnectionRefusedError, ConnectionResetError), socket.create_connection(address, PATIENCE):
        return True
    return False


async def told(link: Link, number: int, *, ended: bool = True) -> Contacts:
    """As who has an event loop waits."""
    answer = link.ask(number, ended=ended)
    while (found := answer.take()) is None:
        if not await current_loop().readable(answer.fileno(), answers.ANSWER_S):
            return answer.give_up()
    return found


def many(link: Link) -> list[int]:
    runs = [served(link, Egress()) for _ in range(50)]
    for port, (_, address) in enumerate(runs, 1):
        refused(address, port)
    return [number for number, _ in runs]


def ports(found: list[Contacts]) -> list[list[int]]:
    return [[row.port for row in contacts.rows] for contacts in found]


def test_tasks_of_asyncio_ask_all_at_once(link):
    numbers = many(link)

    async def main() -> list[Contacts]:
        return await asyncio.gather(*[told(link, number) for number in numbers])

    assert ports(asyncio.run(main())) == [[port] for port in range(1, 51)]
    assert link.asked == {}


def test_tasks_of_trio_ask_all_at_once(link):
    trio = pytest.importorskip("trio")
    numbers, found = many(link), {}

    async def one(number: int) -> None:
        found[number] = await told(link, number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in numbers:
                nursery.start_soon(one, number)

    trio.run(main)
    assert ports([found[number] for number in numbers]) == [[port] for port in range(1, 51)]


def test_a_run_that_goes_on_tells_what_it_has_reached_so_far(link, server):
    number, address = served(link, local(server.port))
    assert link.look(number) == Contacts()
    refused(address, 9)
    with socket.create_connection(address, PATIENCE) as sock:
        tunnel(sock, f"127.0.0.1:{server.port}")
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
        closed, open_ = link.look(number).rows
        assert (closed.port, closed.allowed) == (9, False)
        assert (open_.port, open_.allowed, open_.bytes_in, open_.bytes_out, open_.why) == (
            server.port,
            True,
            5,
            5,
            "open",
        )
        sock.sendall(b"again")
        assert sock.recv(5) == b"again"
    assert until(lambda: [row.why for row in link.look(number).rows][1:] == [""])
    assert [(row.port, row.bytes_in) for row in link.end(number).rows] == [(9, 0), (server.port, 10)]
    assert "proxy ended" in link.look(number).rows[0].why  # nobody knows it any more


def test_who_is_slow_to_take_a_long_answer_holds_nobody_up(link, server, monkeypatch):
    number, address = served(link, Egress())
    for port in range(1, 801):  # more than a socket holds
        refused(address, port)
    slow = link.ask(number)
    other, there = served(link, local(server.port))
    with socket.create_connection(there, PATIENCE) as sock:
        assert b" 200 " in tunnel(sock, f"127.0.0.1:{server.port}")
    assert [row.allowed for row in link.end(other).rows] == [True]
    assert sorted(row.port for row in slow.wait().rows) == [*range(1, 801)]


def test_who_is_interrupted_asks_again(link):
    number, address = served(link, Egress())
    refused(address, 7)
    first = link.ask(number)
    assert link.ask(number) is first
    assert [row.port for row in link.end(number).rows] == [7]
    assert [row.port for row in first.take().rows] == [7]


def test_an_answer_that_nobody_takes_is_closed_and_harms_nobody(link):
    fds = open_fds()
    number, _ = served(link, Egress())
    keeps, address = served(link, Egress())
    started = open_fds()
    for _ in range(300):
        link.ask(keeps, ended=False).close()
    link.ask(number).close()
    refused(address, 5)
    assert [row.port for row in link.end(keeps).rows] == [5]
    assert open_fds() == started
    assert link.asked == {}
    link.close()
    assert open_fds() <= fds


def test_a_run_that_nobody_asks_about_is_dropped(link):
    served(link, Egress())
    started = open_fds()
    asked, there = served(link, Egress())
    number, address = served(link, Egress())
    link.ask(asked)
    for one in (asked, number, number, 12345):
        link.drop(one)
    for where in (address, there):
        assert until(lambda where=where: not connects(where))
    assert open_fds() == started
    assert "proxy ended" in link.end(number).rows[0].why  # nobody knows it any more


def test_a_proxy_that_is_stopped_is_given_up_by_an_event_loop_too(link, monkeypatch):
    monkeypatch.setattr(answers, "ANSWER_S", 0.3)
    number, _ = served(link, Egress())
    other, _ = served(link, Egress())
    pid = link.pid
    os.kill(pid, signal.SIGSTOP)
    asked = link.ask(other)
    assert "does not answer" in asyncio.run(told(link, number)).rows[0].why
    assert not os.path.exists(f"/proc/{pid}")
    assert "proxy ended" in asked.wait().rows[0].why
    again, _ = served(link, Egress())
    assert asked.give_up() == asked.take()  # of the one before: this one lives
    assert link.end(again) == Contacts()


def test_who_has_no_fd_to_be_answered_by_ends_the_run_nevertheless(link, monkeypatch):
    number, address = served(link, Egress())
    refused(address, 5)

    def none(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socketpair", none)
        assert "could not be asked: Too many open files" in link.end(number).rows[0].why

    assert until(lambda: not connects(address))


def test_a_socket_that_does_not_listen_any_more_costs_nothing(link):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = link.serve(listening.fileno(), Egress())
        link.look(number)
        listening.shutdown(socket.SHUT_RDWR)

        def spent() -> float:
            with open(f"/proc/{link.pid}/stat") as f:
                return sum(map(int, f.read().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")

        before = spent()
        time.sleep(0.5)
        assert spent() - before < 0.25
        assert link.end(number) == Contacts()


def test_what_pyjail_closes_ends_the_proxy_too_and_the_next_run_has_another(link):
    number, address = served(link, Egress())
    pid = link.pid
    end_beside_keepers()
    assert not os.path.exists(f"/proc/{pid}")
    assert not link.started
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, PATIENCE)
    assert "proxy ended" in link.end(number).rows[0].why
    again, _ = served(link, Egress())
    assert link.end(again) == Contacts()


LIMITED = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
from pyjail import HostError
from pyjail._egress.link import link
from pyjail._egress.rules import Egress
port = int(sys.argv[1])
runs = []
try:
    while len(runs) < 512:
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
            runs.append((link.serve(listening.fileno(), Egress([f"127.0.0.0/8:{port}"], connections=200)), listening.getsockname()))
except HostError as e:
    print(len(runs), e.control, e, sep="|")
link.end(runs.pop(0)[0])
with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
    runs.append((link.serve(listening.fileno(), Egress([f"127.0.0.0/8:{port}"])), listening.getsockname()))
socks = []
for _ in range(150):  # more than it has places for: the rest waits for those that end
    sock = socket.create_connection(runs[0][1], 30)
    sock.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\\r\\n\\r\\n" % port)
    socks.append(sock)
served = 0
while socks:
    with socks.pop(0) as sock:
        sock.settimeout(30)
        served += b" 200 " in sock.recv(100)
print(served)
print([len(link.end(number).rows) for number, _ in runs].count(0))
"""


def test_as_many_runs_and_connections_as_there_are_fds_for_and_the_next_run_is_told_why_not(server):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(server.port)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    refusal, served_, empty = done.stdout.splitlines()
    count, control, why = refusal.split("|")
    assert (count, control) == ("128", "egress")
    assert "128 runs" in why
    assert "ulimit -Hn" in why
    assert served_ == "150"
    assert empty == "127"


def test_a_thousand_who_wait_are_served_or_cut(link, server):
    """In a backlog that holds them all: who does not come to his turn sees the run's end."""
    if os.sysconf("SC_OPEN_MAX") < 2500:
        pytest.skip("this process may not have 2,500 fds")
    with open("/proc/sys/net/core/somaxconn") as f:
        if int(f.read()) < 1000:
            pytest.skip("a backlog of this machine holds fewer")
    number, address = served(link, local(server.port, connections=2), backlog=1000)
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(1000):
            sock = stack.enter_context(socket.create_connection(address, PATIENCE))
            sock.sendall(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n\r\n".encode())
            socks.append(sock)
        for sock in socks[:200]:
            assert b" 200 " in sock.recv(100)
            sock.close()
        assert len([row for row in link.end(number).rows if row.allowed]) >= 200
        for sock in socks[200:]:
            with contextlib.suppress(ConnectionError):
                assert sock.recv(100)[:12] in (b"", b"HTTP/1.1 200")


def test_who_waits_for_an_answer_holds_nobody_up(link):
    """Of a proxy that is slow: others go on, and it does."""
    first, _ = served(link, Egress())
    os.kill(link.pid, signal.SIGSTOP)
    waits = threading.Thread(target=link.end, args=(first,))
    waits.start()
    assert until(lambda: first in link.asked)
    begun = time.monotonic()
    number, address = served(link, Egress())
    asked = link.ask(number, ended=False)
    assert asked.take() is None
    assert time.monotonic() - begun < answers.ANSWER_S / 2
    assert waits.is_alive()
    os.kill(link.pid, signal.SIGCONT)
    waits.join(PATIENCE)
    assert asked.wait() == Contacts()
    refused(address, 3)
    assert [row.port for row in link.end(number).rows] == [3]
