"""Clients that take their time: half a head, half a body, an answer that is not read; and how many there may be."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from pyjail.serve.config import Config, Edge
from tests.conftest import SLOW
from tests.jail.serve import raw
from tests.jail.serve.served import PATIENCE, Served, served
from tests.scripts import until

SHORT = 0.5 * SLOW
BIG = 9_000_000
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    edge = Edge(head_time=SHORT, body_time=SHORT, rate=1000, stall=2 * SHORT, connections=40, connections_per_client=20)
    with served(Config(edge=edge)) as running:
        yield running


def answers(service: Served) -> bool:
    return httpx.get(f"{service.url}/healthz", timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize("begun", [b"", b"P", b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_head_that_does_not_come_ends_its_connection(service: Served, begun: bytes):
    with raw.connect(service.port) as sock:
        sock.sendall(begun)
        assert raw.statuses(raw.until_closed(sock)) == [408]


def test_a_head_that_comes_byte_by_byte_ends_its_connection(service: Served):
    """Each byte is in time; the head is not."""
    with raw.connect(service.port) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        end = time.monotonic() + PATIENCE
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < end:
                sock.sendall(b"X")
                time.sleep(SHORT / 10)
        assert time.monotonic() < end


def test_the_head_of_a_second_request_has_its_own_deadline(service: Served):
    with raw.connect(service.port) as sock:
        for _ in range(4):
            sock.sendall(HEALTH)
            assert raw.statuses(raw.answer(sock)) == [200]
            time.sleep(SHORT / 2)
        sock.sendall(b"GET /hea")
        assert raw.statuses(raw.until_closed(sock)) == [408]


def test_empty_lines_between_requests_are_no_way_to_stay(service: Served):
    with raw.connect(service.port) as sock:
        sock.sendall(HEALTH)
        assert raw.statuses(raw.answer(sock)) == [200]
        end = time.monotonic() + PATIENCE
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < end:
                sock.sendall(b"\r\n")
                time.sleep(SHORT / 10)
        assert time.monotonic() < end


def test_what_comes_while_a_program_runs_does_not_end_it(service: Served):
    """An empty line after a body, as old clients send it; half of the next request."""
    body = json.dumps({"args": ["sleep", str(4 * SHORT)], "limits": {"wall_time": 100 * SHORT}}).encode()
    for more in (b"\r\n", b"GET /healthz HTT"):
        with raw.connect(service.port) as sock:
            sock.sendall(raw.head(body=len(body)) + body)
            time.sleep(SHORT / 5)
            sock.sendall(more)
            assert raw.statuses(raw.answer(sock)) == [200]
            assert raw.statuses(raw.until_closed(sock)) == [408]


@pytest.mark.parametrize("line", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_ends_its_connection(service: Served, line: str):
    with raw.connect(service.port) as sock:
        sock.sendall(raw.head(line))
        assert raw.statuses(raw.until_closed(sock)) == [408]


def test_a_body_that_comes_too_slowly_ends_its_connection(service: Served):
    with raw.connect(service.port) as sock:
        sock.sendall(raw.head("Content-Length: 100000"))
        end = time.monotonic() + PATIENCE
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < end:
                sock.sendall(b" ")
                time.sleep(SHORT / 10)
        assert time.monotonic() < end


def test_a_body_that_keeps_its_rate_may_take_longer(service: Served):
    body = raw.RUN + b" " * 20_000
    with raw.connect(service.port) as sock:
        sock.sendall(raw.head("Connection: close", body=len(body)))
        for n in range(0, len(body), 2000):
            sock.sendall(body[n : n + 2000])
            time.sleep(SHORT / 5)
        assert raw.statuses(raw.until_closed(sock)) == [200]


def asked(service: Served, sock: socket.socket) -> None:
    program = f"head -c {BIG} /dev/zero | tr '\\0' x"
    body = json.dumps({"args": ["sh", "-c", program], "limits": {"output": BIG}}).encode()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    sock.sendall(raw.head("Connection: close", body=len(body)) + body)


def test_an_answer_that_nobody_reads_ends_its_connection(service: Served):
    with raw.connect(service.port) as sock:
        asked(service, sock)
        got = len(sock.recv(1))
        time.sleep(8 * SHORT)
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(1 << 20):
                got += len(data)
    assert got < BIG


def test_an_answer_that_is_read_drop_by_drop_ends_its_connection():
    """It is some megabytes that are held for its reader."""
    with served(Config(edge=Edge(stall=SHORT, rate=1_000_000))) as service, raw.connect(service.port) as sock:
        asked(service, sock)
        got = 0
        end = time.monotonic() + 10 * SHORT
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(1 << 14):
                got += len(data)
                if time.monotonic() < end:
                    time.sleep(SHORT / 10)
    assert 0 < got < BIG


def test_an_answer_that_is_read_slowly_is_whole(service: Served):
    with raw.connect(service.port) as sock:
        asked(service, sock)
        got, steps = b"", 0
        while data := sock.recv(1 << 17):
            got += data
            steps += 1
            if steps < 30:
                time.sleep(SHORT / 10)
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower() and body.endswith(b"\r\n0\r\n\r\n") and len(body) > BIG


def test_a_body_that_is_too_long_is_told_so_although_it_is_still_sent(service: Served):
    answer = httpx.post(
        f"{service.url}/v1/runs", content=b" " * (24 << 20), headers={"Content-Type": "application/json"}, timeout=PATIENCE
    )  # fmt: skip
    assert answer.status_code == 413


def test_a_body_that_is_sent_after_its_refusal_is_not_read_for_ever(service: Served):
    with raw.connect(service.port) as sock:
        sock.sendall(raw.head("Content-Length: 100000000000"))
        assert b"413" in sock.recv(1 << 16)
        end = time.monotonic() + PATIENCE
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < end:
                sock.sendall(b" " * 1000)
                time.sleep(0.01)
        assert time.monotonic() < end


def test_one_client_has_so_many_connections_and_no_more(service: Served):
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(raw.connect(service.port)) for _ in range(20)]
        for sock in held:
            sock.sendall(HEALTH)
            assert raw.statuses(raw.answer(sock)) == [200]
        assert raw.statuses(raw.said(service.port, b"")) == [429]
    end = time.monotonic() + PATIENCE
    while raw.statuses(raw.said(service.port, HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) != [200]:
        assert time.monotonic() < end  # those that ended do not count any more


def test_all_clients_together_have_so_many_connections_and_no_more():
    with (
        served(Config(edge=Edge(connections=10, connections_per_client=100))) as service,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(10):
            sock = stack.enter_context(raw.connect(service.port))
            sock.sendall(HEALTH)
            assert raw.statuses(raw.answer(sock)) == [200]
        assert raw.statuses(raw.said(service.port, b"")) == [503]


def upgrade(path: str) -> bytes:
    return raw.head(
        "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", method="GET", path=path,
    )  # fmt: skip


def test_a_connection_that_became_a_websocket_counts_until_it_ends(service: Served):
    for _ in range(60):
        assert raw.statuses(raw.said(service.port, upgrade("/nowhere")))[0] in (403, 404)
    with (
        served(Config(edge=Edge(connections_per_client=5, head_time=PATIENCE))) as other,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(5):
            sock = stack.enter_context(raw.connect(other.port))
            sock.sendall(upgrade("/v1/terminal"))
            assert raw.statuses(sock.recv(1 << 16)) == [101]
        assert raw.statuses(raw.said(other.port, b"")) == [429]


def test_requests_that_do_not_wait_for_answers_are_bounded(service: Served):
    came = raw.said(service.port, HEALTH * 5000)
    found = raw.statuses(came)
    assert set(found) <= {200, 429} and len(found) < 5000


def test_after_all_that_the_service_answers(service: Served):
    assert answers(service)
    assert "Traceback" not in service.log()


@pytest.mark.parametrize(
    "more",
    [HEALTH, raw.head("Content-Length: 10000000") + b" " * 300_000, b"GET / HTTP/1.1\r\nX\r\n\r\n"],
    ids=["small", "long", "wrong"],
)
def test_who_leaves_after_a_second_request_is_seen_to_leave(service: Served, more: bytes):
    """Nothing is answered to the second before the first: it would be taken for the answer to that."""
    body = json.dumps({"args": ["sleep", "100"], "limits": {"wall_time": 110}}).encode()
    with raw.connect(service.port) as sock:
        sock.sendall(raw.head(body=len(body)) + body)
        assert until(lambda: any(b"sleep" in line for line in service.programs()), PATIENCE)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(more)
        time.sleep(SHORT / 5)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            assert sock.recv(1 << 16) == b""
    assert until(lambda: service.programs() == [], PATIENCE / 2)
