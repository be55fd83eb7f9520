"""Requests that are answered by their head alone: in their turn, once, and the connection goes on behind their bodies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.jail.serve import raw
from tests.jail.serve.served import Served, served

GOOD = raw.head(body=len(raw.RUN)) + raw.RUN
LAST = raw.head("Connection: close", body=len(raw.RUN)) + raw.RUN
TEXT = b"this is no JSON" * 100
SLOW = json.dumps({"args": ["sleep", "0.3"]}).encode()


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with served() as running:
        yield running


def refused(*lines: str, method: str = "POST", body: bytes = TEXT, host: str = "localhost") -> bytes:
    """A request whose body is of a type that is not taken, or that asks for another host."""
    kind = "text/plain" if host == "localhost" else "application/json"
    head = [f"{method} /v1/runs HTTP/1.1", f"Host: {host}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, *lines, "", ""]).encode() + body


def test_its_body_is_thrown_away_and_the_next_request_is_answered(service: Served):
    with raw.connect(service.port) as sock:
        for _ in range(3):
            sock.sendall(refused() + GOOD)
            assert raw.statuses(raw.answer(sock)) == [415]
            assert raw.statuses(raw.answer(sock)) == [200]


def test_its_answer_does_not_wait_for_its_body(service: Served):
    whole = refused()
    with raw.connect(service.port) as sock:
        sock.sendall(whole[: -len(TEXT)])
        assert raw.statuses(raw.answer(sock)) == [415]
        for at in range(0, len(TEXT), 500):
            sock.sendall(TEXT[at : at + 500])
            time.sleep(0.05)
        sock.sendall(LAST)
        assert raw.statuses(raw.until_closed(sock)) == [200]


def test_it_has_its_turn_among_those_that_came_before_and_after(service: Served):
    slow = raw.head(body=len(SLOW)) + SLOW
    said = raw.said(service.port, slow + refused() + refused(host="elsewhere.example") + GOOD + refused() + LAST)
    assert raw.statuses(said) == [200, 415, 421, 200, 415, 200]


def test_an_answer_to_head_has_no_body(service: Served):
    said = raw.said(service.port, refused(method="HEAD", host="elsewhere.example", body=b"") + LAST)
    assert raw.statuses(said) == [421, 200]
    first, _, rest = said.partition(b"\r\n\r\n")
    assert b"content-length: " in first and rest.startswith(b"HTTP/1.1 200 OK\r\n")


def test_who_asks_for_the_end_of_the_connection_gets_it(service: Served):
    said = raw.said(service.port, refused("Connection: close"))
    assert raw.statuses(said) == [415] and b"\r\nconnection: close\r\n" in said
    said = raw.said(service.port, refused(body=b"x" * 10).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert raw.statuses(said) == [415] and b"\r\nconnection: close\r\n" in said


def test_it_is_told_apart_as_all_answers_are(service: Served):
    with raw.connect(service.port) as sock:
        sock.sendall(refused("X-Request-Id: mine-1"))
        head, _, body = raw.answer(sock).partition(b"\r\n\r\n")
    assert b"\r\nx-request-id: mine-1\r\n" in head + b"\r\n" and b"nosniff" in head and b"\r\ndate: " in head
    assert json.loads(body)["request_id"] == "mine-1"
