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
from concurrent.futures import ThreadPoolExecutor

import pytest

import pyjail
from pyjail import Jail, Limits, Verdict, aio
from tests import place
from tests.conftest import SLOW
from tests.host_side import alive, fds
from tests.inside import egress_link
from tests.instants import Instant, Interrupted, Unharmed, every
from tests.jail.egress.jails import LIMITS, PYTHON, TALK, connects, jail, nobody_served, python
from tests.jail.egress.world import PATIENCE, Server, until
from tests.scripts import script

ONE = TALK + "\nprint(answer([head(f'host.test:{sys.argv[1]}')])[9:12])\n"


def one(port: int) -> list[str]:
    """A program that asks once, for this port, and is refused."""
    return [*PYTHON, ONE, str(port)]


def told(result: pyjail.Result) -> list[int]:
    """The ports that it asked for."""
    assert result.egress is not None, result
    return [row.port for row in result.egress.rows]


@pytest.fixture(autouse=True)
def nobody_is_served_afterwards() -> Iterator[None]:
    yield
    assert until(nobody_served)
    pyjail.close()
    assert egress_link().runs == set()


# ---- ways to start one ----


def by_run(of: Jail) -> pyjail.Result:
    return pyjail.run(one(7), LIMITS, jail=of)


def by_start(of: Jail) -> pyjail.Result:
    with pyjail.start(one(7), LIMITS, jail=of) as p:
        assert p.stdout is not None and p.stdout.read() == b"403\n"
    return p.result


def by_pool(of: Jail) -> pyjail.Result:
    with pyjail.Pool(2, jail=of, limits=LIMITS) as pool:
        return pool.run(one(7))


def by_session(of: Jail) -> pyjail.Result:
    with pyjail.Session(jail=of, limits=LIMITS) as session:
        session.write("x", "x")
        first = session.run(one(6))
        assert told(first) == [6]
        return session.run(one(7))


def by_interact(of: Jail) -> pyjail.Result:
    party = pyjail.Party(one(7), LIMITS, jail=of)
    i = pyjail.interact(party, pyjail.Party(["cat"], LIMITS), edges=["a.stdout -> b.stdin"])
    result: pyjail.Result = i.results["a"]
    return result


def by_measure(of: Jail) -> pyjail.Result:
    m = pyjail.measure(one(7), LIMITS, jail=of, repeat=pyjail.Repeat(2, 2))
    assert [told(r) for r in m.runs] == [[7]] * len(m.runs)
    result: pyjail.Result = m.runs[0]
    return result


def by_a_loop(of: Jail) -> pyjail.Result:
    return asyncio.run(aio.run(one(7), LIMITS, jail=of))


def by_trio(of: Jail) -> pyjail.Result:
    trio = pytest.importorskip("trio")

    async def main() -> pyjail.Result:
        return await aio.run(one(7), LIMITS, jail=of)

    result: pyjail.Result = trio.run(main)
    return result


def with_files(of: Jail) -> pyjail.Result:
    return pyjail.run(one(7), LIMITS, jail=of, files={"a": "x"}, collect=["a"], input=b"x")


WAYS = [by_run, by_start, by_pool, by_session, by_interact, by_measure, by_a_loop, by_trio, with_files]


@pytest.mark.parametrize("kind", ["again", "fresh", "deterministic"])
@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_run_has_its_way_out_and_is_told_of_it(way, kind):
    given = {} if kind == "again" else {kind: True}
    if way is by_interact and kind == "deterministic":
        pytest.skip("parties that run at once are chance")
    if way is by_session and kind == "fresh":
        given = {}
    of = Jail(network=jail("pypi.org").network, **given)
    for _ in range(2):
        assert told(way(of)) == [7]


def test_runs_one_after_the_other_have_each_their_own():
    of = jail()
    for port in range(1, 31):
        assert told(pyjail.run(one(port), LIMITS, jail=of)) == [port]


def many(count: int, width: int) -> None:
    of = jail()

    def run(port: int) -> list[int]:
        return told(pyjail.run(one(port), LIMITS, jail=of))

    with ThreadPoolExecutor(width) as threads:
        assert list(threads.map(run, range(1, count + 1))) == [[port] for port in range(1, count + 1)]


def test_two_hundred_runs_some_at_once_have_each_their_own():
    many(200, 8)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_runs_have_each_their_own():
    many(1000, 32)


def test_two_hundred_that_live_at_once_have_each_their_own():
    of, count = jail(), 200 if place.CGROUPS else 50
    code = TALK + "\nsys.stdin.read(1)\nprint(answer([head(f'host.test:{sys.argv[1]}')])[9:12])\n"
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(pyjail.start([*PYTHON, code, str(port)], Limits(wall_time=None), jail=of))
            for port in range(1, count + 1)
        ]
        assert len(egress_link().runs) >= count
        for p in started:
            assert p.stdin is not None
            p.stdin.close()
        for p in started:
            assert p.stdout is not None and p.stdout.read() == b"403\n"
            p.wait()
        assert [told(p.result) for p in started] == [[port] for port in range(1, count + 1)]


def test_tasks_of_a_loop_have_each_their_own():
    async def main() -> list[pyjail.Result]:
        return await asyncio.gather(*[aio.run(one(port), LIMITS, jail=jail()) for port in range(1, 41)])

    assert [told(r) for r in asyncio.run(main())] == [[port] for port in range(1, 41)]


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
