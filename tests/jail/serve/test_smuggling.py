"""Requests about whose end two servers could disagree: none is answered as if it were clear, and nothing behind it is.

Each has a second request in what the other reading takes for its body; it must not be answered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from pyjail.serve.config import Config, Edge
from tests.jail.serve import raw
from tests.jail.serve.served import Served, served

SECOND = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with served(Config(edge=Edge(head_time=2, body_time=2))) as running:
        yield running


def post(*lines: bytes, end: bytes = b"\r\n", start: bytes = b"POST /v1/runs HTTP/1.1", body: bytes = b"") -> bytes:
    return end.join([start, b"Host: localhost", b"Content-Type: application/json", *lines, b"", b""]) + body


LENGTH = b"Content-Length: %d" % len(raw.RUN)
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(raw.RUN), raw.RUN)

AMBIGUOUS = {
    "a length and chunks": post(LENGTH, CHUNKED, body=b"0\r\n\r\n"),
    "chunks and a length": post(CHUNKED, b"Content-Length: 4", body=CHUNKS),
    "two lengths": post(b"Content-Length: 0", LENGTH, body=raw.RUN),
    "the same length twice": post(LENGTH, LENGTH, body=raw.RUN),
    "a list of lengths": post(LENGTH + b", 0", body=raw.RUN),
    "a length with a sign": post(b"Content-Length: +18", body=raw.RUN),
    "a length below zero": post(b"Content-Length: -1", body=raw.RUN),
    "a length in hex": post(b"Content-Length: 0x12", body=raw.RUN),
    "a length that is empty": post(b"Content-Length:", body=raw.RUN),
    "a length that overflows": post(b"Content-Length: 18446744073709551634", body=raw.RUN),
    "bare line feeds": post(LENGTH, end=b"\n", body=raw.RUN),
    "one bare line feed": post(b"X: y\n" + LENGTH, body=raw.RUN),
    "a bare line feed at the end": b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\n" + LENGTH + b"\r\n\n" + raw.RUN,
    "a bare carriage return": post(b"X: y\r" + LENGTH, body=raw.RUN),
    "a folded line": post(b"X: y\r\n z", LENGTH, body=raw.RUN),
    "a folded encoding": post(b"Transfer-Encoding:\r\n chunked", body=CHUNKS),
    "a space before the colon": post(b"Content-Length : 18", body=raw.RUN),
    "a space before the first header": b"POST /v1/runs HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "a tab in a name": post(b"Content\t-Length: 18", body=raw.RUN),
    "an empty name": post(b": y", LENGTH, body=raw.RUN),
    "brackets in a name": post(b"X(y): z", LENGTH, body=raw.RUN),
    "a name beyond ASCII": post(b"X\xe9: z", LENGTH, body=raw.RUN),
    "no colon": post(b"XY", LENGTH, body=raw.RUN),
    "NUL in a value": post(b"X: a\0b", LENGTH, body=raw.RUN),
    "a control character in a value": post(b"X: a\x01b", LENGTH, body=raw.RUN),
    "an unknown encoding": post(b"Transfer-Encoding: xchunked", body=CHUNKS),
    "chunked, not last": post(b"Transfer-Encoding: chunked, identity", body=CHUNKS),
    "chunked twice": post(CHUNKED, CHUNKED, body=CHUNKS),
    "identity": post(b"Transfer-Encoding: identity", LENGTH, body=raw.RUN),
    "compressed chunks": post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS),
    "a vertical tab before chunked": post(b"Transfer-Encoding: \x0bchunked", body=CHUNKS),
    "chunks in HTTP/1.0": post(CHUNKED, start=b"POST /v1/runs HTTP/1.0", body=CHUNKS),
    "a chunk that ends with a line feed": post(CHUNKED, body=b"1\n{\r\n0\r\n\r\n"),
    "an extension with a line feed": post(CHUNKED, body=b"1;a\nb\r\n{\r\n0\r\n\r\n"),
    "a size with a space": post(CHUNKED, body=b"1 \r\n{\r\n0\r\n\r\n"),
    "a size with a prefix": post(CHUNKED, body=b"0x1\r\n{\r\n0\r\n\r\n"),
    "a size that overflows": post(CHUNKED, body=b"fffffffffffffffff\r\n{\r\n0\r\n\r\n"),
    "a chunk that is longer": post(CHUNKED, body=b"1\r\n{}0\r\n\r\n"),
    "a length in the trailer": post(CHUNKED, body=CHUNKS[:-2] + b"Content-Length: 5\r\n\r\n"),
    "two hosts": post(b"Host: evil.example", LENGTH, body=raw.RUN),
    "no host": b"POST /v1/runs HTTP/1.1\r\nContent-Type: application/json\r\n" + LENGTH + b"\r\n\r\n" + raw.RUN,
    "a whole address": post(LENGTH, start=b"POST http://localhost/v1/runs HTTP/1.1", body=raw.RUN),
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/2.0": post(LENGTH, start=b"POST /v1/runs HTTP/2.0", body=raw.RUN),
    "HTTP/1.2": post(LENGTH, start=b"POST /v1/runs HTTP/1.2", body=raw.RUN),
    "a space in the path": post(LENGTH, start=b"POST /v1/runs x HTTP/1.1", body=raw.RUN),
    "tabs in the first line": post(LENGTH, start=b"POST\t/v1/runs\tHTTP/1.1", body=raw.RUN),
    "an upgrade with a body": post(b"Connection: Upgrade", b"Upgrade: h2c", LENGTH, body=raw.RUN),
    "a websocket with a body": post(b"Connection: Upgrade", b"Upgrade: websocket", LENGTH, body=raw.RUN),
    "CONNECT": b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_what_is_ambiguous_is_refused_and_what_follows_is_not_read(service: Served, what: str):
    came = raw.said(service.port, AMBIGUOUS[what] + SECOND)
    (status,) = raw.statuses(came)
    assert status in (400, 501, 505), came
    assert b"application/problem+json" in came and b'"ok"' not in came


@pytest.mark.parametrize("request_", [post(LENGTH, body=raw.RUN), post(CHUNKED, body=CHUNKS)], ids=["length", "chunks"])
def test_what_is_clear_is_answered_and_so_is_what_follows(service: Served, request_: bytes):
    came = raw.said(service.port, request_ + SECOND.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert raw.statuses(came) == [200, 200]


def test_a_trailer_changes_nothing_that_the_head_said(service: Served):
    """Not even for who would look at headers once the body is there."""
    trailer = b"X-Request-ID: late\r\nRange: bytes=0-0\r\nConnection: close\r\n\r\n"
    came = raw.said(service.port, post(CHUNKED, b"Connection: close", body=CHUNKS[:-2] + trailer))
    assert raw.statuses(came) == [200] and b"late" not in came


def test_an_upgrade_that_is_not_offered_is_an_ordinary_request(service: Served):
    asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    came = raw.said(service.port, asked + SECOND)
    assert raw.statuses(came) == [200] and b"connection: close" in came


@pytest.mark.parametrize(
    "request_",
    [
        raw.head(*(f"X-{n}: y" for n in range(200)), body=0),
        raw.head("X: " + "y" * (40 << 10), body=0),
        raw.head("y" * (40 << 10) + ": x", body=0),
        raw.head(path="/" + "y" * (40 << 10), body=0),
        b"POST /" + b"y" * (300 << 10),
        b"POST / HTTP/1.1\r\nX: " + b"y" * (300 << 10),
    ],
    ids=["many", "long value", "long name", "long path", "endless path", "endless value"],
)
def test_a_head_has_bounds(service: Served, request_: bytes):
    with raw.connect(service.port) as sock:
        try:
            sock.sendall(request_)
        except (BrokenPipeError, ConnectionResetError):
            return
        came = raw.until_closed(sock)
    assert raw.statuses(came) in ([431], [])  # a reset may be quicker than the answer


@pytest.mark.parametrize("kind", ["trailer", "extension"])
def test_what_dresses_a_body_has_bounds(service: Served, kind: str):
    with raw.connect(service.port) as sock:
        sock.sendall(raw.head("Transfer-Encoding: chunked"))
        sock.sendall(b"1;" if kind == "extension" else b"0\r\nX: ")
        sent = 0
        try:
            while sent < 64 << 20:
                sent += sock.send(b"y" * (64 << 10))
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert sent < 32 << 20


@pytest.mark.parametrize("rest", [b"5\nhello", b"zz\r\n", b"1;" + b"x" * 100_000], ids=["bare", "none", "dress"])
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "apart"])
def test_a_request_has_one_answer_whatever_comes_of_its_body(service: Served, rest: bytes, apart: bool):
    """A second one would be taken for that to somebody else's request, by whoever passes it on."""
    head = raw.head("Transfer-Encoding: chunked", path="/nowhere")
    with raw.connect(service.port) as sock:
        sock.sendall(head if apart else head + rest)
        came = b""
        if apart:
            came = sock.recv(1 << 16)
            with contextlib.suppress(ConnectionError):
                sock.sendall(rest)
        came += raw.until_closed(sock)
    refused = head.replace(b"application/json", b"text/plain")
    more = raw.said(service.port, refused.replace(b"/nowhere", b"/v1/runs") + rest)
    assert came.count(b"HTTP/1.1 ") == more.count(b"HTTP/1.1 ") == 1, (came, more)
