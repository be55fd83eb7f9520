"""Runs with an `Egress` from their start to their end, however they are started and whatever ends them: each has its own way
out, tells what came of it, and leaves nobody served."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

import pyjail
from pyjail import Jail, Limits, Verdict, aio
from tests.conftest import SLOW
from tests.host_side import alive, fds
from tests.inside import egress_link
from tests.instants import Instant, Interrupted, Unharmed, every
from tests.jail.egress.jails import LIMITS, PYTHON, TALK, connects, jail, nobody_served, python
from tests.jail.egress.ways import by_a_loop, by_run, by_session, by_start, one, told, with_files
from tests.jail.egress.world import PATIENCE, Server, until
from tests.scripts import script


@pytest.fixture(autouse=True)
def nobody_is_served_afterwards() -> Iterator[None]:
    yield
    assert until(nobody_served)
    pyjail.close()
    assert egress_link().runs == set()


# ---- what ends them ----


HANGS = """
with connect() as sock:
    sock.sendall(head(f"127.0.0.1:{sys.argv[1]}").encode())
    sock.recv(100)
    print("here", flush=True)
    while data := sock.recv(65536):
        pass
    time.sleep(99)
"""


def pour(sock) -> None:
    with contextlib.suppress(OSError):
        while True:
            sock.sendall(bytes(1 << 16))
            time.sleep(0.001)


@pytest.fixture
def endless() -> Iterator[Server]:
    with Server(pour) as made:
        yield made


def of(server: Server) -> Jail:
    return jail(f"127.0.0.0/8:{server.port}", size="1T", idle=600)


def test_a_limit_in_the_middle_of_a_transfer_is_told_with_what_came(endless):
    r = pyjail.run([*PYTHON, TALK + HANGS, str(endless.port)], Limits(wall_time=1.5 * SLOW), jail=of(endless))
    assert r.verdict is Verdict.WALL_TIME
    assert r.egress is not None
    (row,) = r.egress.rows
    assert row.allowed and row.bytes_in > 0 and row.port == endless.port


def test_a_timeout_in_the_middle_of_a_transfer_leaves_nothing_and_the_next_run_is_served(endless):
    for _ in range(2):
        with pytest.raises(pyjail.TimeoutExpired):
            pyjail.run([*PYTHON, TALK + HANGS, str(endless.port)], LIMITS, jail=of(endless), timeout=1.5 * SLOW)
        assert told(pyjail.run(one(3), LIMITS, jail=of(endless))) == [3]


@pytest.mark.parametrize("how", ["kill", "drop"])
def test_a_live_program_that_is_given_up_in_the_middle_leaves_nothing(endless, how):
    p = pyjail.start([*PYTHON, TALK + HANGS, str(endless.port)], LIMITS, jail=of(endless))
    assert p.stdout is not None and p.stdout.readline() == b"here\n"
    if how == "kill":
        p.kill()
        p.wait()
        assert p.result.egress is not None and p.result.egress.rows[0].allowed
    p.close()
    del p
    assert until(nobody_served)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_task_that_is_cancelled_in_the_middle_leaves_nothing(endless, loop):
    command = [*PYTHON, TALK + HANGS, str(endless.port)]
    count = endless.connections
    if loop == "trio":
        trio = pytest.importorskip("trio")

        async def in_trio() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: aio.run(command, LIMITS, jail=of(endless)))
                while endless.connections == count:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()

        trio.run(in_trio)
    else:

        async def main() -> None:
            task = asyncio.create_task(aio.run(command, LIMITS, jail=of(endless)))
            while endless.connections == count:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
    assert until(nobody_served)
    assert told(by_a_loop(jail())) == [7]


def test_a_proxy_that_is_killed_is_seen_as_a_reset_told_and_replaced(endless):
    code = """
with connect() as sock:
    sock.sendall(head(f"127.0.0.1:{sys.argv[1]}").encode())
    sock.recv(100)
    print("here", flush=True)
    print(said(sock)[-21:].strip("\\0"))
for _ in range(500):  # it ends step by step
    try:
        connect().close()
    except ConnectionRefusedError as e:
        print(type(e).__name__)
        break
    except ConnectionError:
        pass
    time.sleep(0.01)
"""
    with pyjail.start([*PYTHON, TALK + code, str(endless.port)], LIMITS, jail=of(endless)) as p:
        assert p.stdout is not None and p.stdout.readline() == b"here\n"
        pid = egress_link().pid
        os.kill(pid, signal.SIGKILL)
        assert p.stdout.read() == b" ConnectionResetError\nConnectionRefusedError\n"
    assert p.result.egress is not None
    assert "the egress proxy ended" in p.result.egress.rows[0].why
    assert told(pyjail.run(one(4), LIMITS, jail=of(endless))) == [4]
    assert egress_link().pid not in (pid, -1)
    assert not alive(pid)


def test_all_runs_of_a_proxy_that_is_killed_are_told(endless):
    started = [pyjail.start([*PYTHON, TALK + HANGS, str(endless.port)], LIMITS, jail=of(endless)) for _ in range(5)]
    for p in started:
        assert p.stdout is not None and p.stdout.readline() == b"here\n"
    os.kill(egress_link().pid, signal.SIGKILL)
    for p in started:
        p.kill()
        p.wait()
        assert p.result.egress is not None and "the egress proxy ended" in p.result.egress.rows[0].why
        p.close()


def test_pyjail_close_ends_the_proxy_and_the_next_run_has_another():
    assert told(by_run(jail())) == [7]
    pid = egress_link().pid
    pyjail.close()
    assert not alive(pid)
    assert told(by_run(jail())) == [7]


EMBEDDER = """
import os, sys, pyjail
from pyjail import Egress, Jail
from pyjail._egress.link import link
jail = Jail(network=Egress([]))
pyjail.run(["true"], jail=jail)
p = pyjail.start(["sleep", "99"], jail=jail)
print(link.pid, flush=True)
"""


@pytest.mark.parametrize(
    "end",
    ["os.kill(os.getpid(), 9)", "os._exit(0)", "sys.exit(0)", "os.abort()", "os.fork() and os.kill(os.getpid(), 9)"],
)
def test_the_proxy_ends_with_its_embedder(end):
    done = script(EMBEDDER + end, preexec_fn=None)
    pid = int(done.stdout.split()[0])
    assert until(lambda: not alive(pid)), done


def test_a_forked_child_has_a_proxy_of_its_own():
    code = """
import os, pyjail
from pyjail import Egress, Jail
from pyjail._egress.link import link
jail = Jail(network=Egress([]))
ask = ["python3", "-c", '''import socket
with socket.create_connection(("127.0.0.1", 3128)) as s: s.sendall(b"CONNECT x.test:1 HTTP/1.1\\\\r\\\\n\\\\r\\\\n"); s.recv(1)''']
pyjail.run(["true"], jail=jail)
p = pyjail.start(["cat"], jail=jail)
pid = link.pid
if not os.fork():
    r = pyjail.run(ask, jail=jail)
    assert r.ok and len(r.egress.rows) == 1, (r, r.stderr)
    assert link.pid not in (pid, -1)
    print("child", flush=True)
    os._exit(0)
assert os.wait()[1] == 0
assert link.pid == pid
p.stdin.close()
p.wait()
assert p.result.egress.rows == ()
r = pyjail.run(ask, jail=jail)
assert r.ok and len(r.egress.rows) == 1
print("parent")
"""
    done = script(code)
    assert done.stdout == "child\nparent\n", done


@pytest.mark.parametrize("way", [by_run, by_start, by_session, with_files], ids=lambda way: way.__name__)
def test_a_run_that_is_interrupted_leaves_nobody_served(way):
    def call() -> None:
        way(jail())

    def quiet() -> None:
        pyjail.run(["true"], LIMITS, jail=jail())

    call()
    with Unharmed():
        for n in every(call, 60):
            with contextlib.suppress(Interrupted), Instant(n):
                call()
            quiet()
            assert until(nobody_served), n


def test_a_thread_that_ends_all_beside_runs_leaves_nobody_served():
    def closes() -> None:
        for _ in range(8):
            time.sleep(0.4 * SLOW)
            pyjail.close()

    thread = threading.Thread(target=closes)
    thread.start()
    while thread.is_alive():
        with contextlib.suppress(pyjail.JailError):
            r = pyjail.run(one(7), LIMITS, jail=jail())
            assert r.verdict is Verdict.JAIL_ERROR or (r.egress is not None and len(r.egress.rows) <= 1)
    thread.join(PATIENCE)


def test_runs_leave_no_fd():
    counts = []
    for _ in range(3):
        for _ in range(8):
            by_run(jail())
        pyjail.close()
        counts.append(fds())
    assert counts[0] == counts[1] == counts[2]


def test_what_lasts_longest_is_no_connection_that_is_open_when_the_program_ends(endless):
    """A program that ends has its connections ended, told with what they carried."""
    code = "\nsock = connect()\nsock.sendall(head(f'127.0.0.1:{sys.argv[1]}').encode())\nsock.recv(100)\nimport os\nos._exit(0)\n"
    r = python(code, str(endless.port), of=of(endless))
    assert r.ok and r.egress is not None and r.egress.rows[0].allowed
    assert connects("x:1")[0].startswith("CONNECT x:1 ")
