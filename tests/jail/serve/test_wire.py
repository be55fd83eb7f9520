"""What goes over the wire: WebSockets' first packets, and streams to clients of HTTP/1.0; by raw sockets."""

from __future__ import annotations

import base64
import json
import os
import struct
from contextlib import suppress

import pytest

from pyjail.serve import Config
from tests.jail.serve.raw import connect, said, until_closed
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

TEXT, BYTES, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@pytest.fixture(scope="module")
def service():
    with served(Config()) as found:
        yield found
        assert until(lambda: found.programs() == [], PATIENCE)
        assert "Traceback" not in found.log() and '"problem": "internal"' not in found.log()


def handshake(path="/v1/terminal"):
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
    ]
    return "\r\n".join([*lines, f"Sec-WebSocket-Key: {key}", "", ""]).encode()


def frame(kind, data):
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))
    return bytes([0x80 | kind]) + length + bytes(4) + data  # (a mask of zeros)


def frames(came):
    """(kind, data) of all in there."""
    found = []
    while len(came) > 1:
        size, at = came[1] & 0x7F, 2
        if size == 126:
            size, at = struct.unpack("!H", came[2:4])[0], 4
        found.append((came[0] & 0xF, came[at : at + size]))
        came = came[at + size :]
    return found


def heard(sock):
    """(head, frames) up to the goodbye, or the end."""
    came = b""
    while not any(kind == CLOSE for kind, _ in frames(came.partition(b"\r\n\r\n")[2])):
        try:
            data = sock.recv(1 << 16)
        except ConnectionResetError:
            break
        if not data:
            break
        came += data
    head, _, rest = came.partition(b"\r\n\r\n")
    return head, frames(rest)


def asked(*args):
    return frame(TEXT, json.dumps({"args": args}).encode())


@pytest.mark.parametrize("cut", [0, 1, 30])
def test_what_comes_with_the_handshake_is_heard(service, cut):
    data = handshake() + frame(PING, b"there?") + asked("sh", "-c", "read x; echo got-$x") + frame(BYTES, b"typed\n")
    with connect(service.port) as sock:
        sock.sendall(data[: len(data) - cut])
        if cut:
            sock.sendall(data[len(data) - cut :])
        head, came = heard(sock)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert (PONG, b"there?") in came
    assert b"got-typed" in b"".join(data for kind, data in came if kind == BYTES)
    assert json.loads([data for kind, data in came if kind == TEXT][-1])["result"]["verdict"] == "ok"


def test_more_than_one_message_can_have_is_not_kept_before_the_answer(service):
    with connect(service.port) as sock:
        with suppress(OSError):  # it may be closed meanwhile
            sock.sendall(handshake() + b"\x82" * (2 << 20))
        heard(sock)


def test_who_says_goodbye_with_the_handshake_is_let_go(service):
    with connect(service.port) as sock:
        sock.sendall(handshake() + frame(CLOSE, struct.pack("!H", 1000)))
        head, came = heard(sock)
    assert head.startswith(b"HTTP/1.1 101 ") and came[-1][0] == CLOSE


def test_what_comes_with_a_handshake_that_is_refused_is_nothing(service):
    with connect(service.port) as sock:
        sock.sendall(handshake("/v1/no-such") + asked("echo", "in"))
        came = until_closed(sock)
    assert came.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 404 ")) and b"101" not in came.split(b"\r\n")[0]


def old(path, body, *lines):
    head = [
        f"POST {path} HTTP/1.0",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, *lines, "", ""]).encode() + body


def test_events_for_a_client_of_http_1_0_are_in_no_chunks(service):
    body = json.dumps({"args": ["sh", "-c", "echo one; echo two >&2"]}).encode()
    head, _, rest = said(service.port, old("/v1/runs", body, "Accept: text/event-stream")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower() and b"content-length" not in head.lower()
    events = rest.decode().strip("\n").split("\n\n")
    assert all(event.startswith(("event: ", ":")) for event in events), events
    assert events[-1].startswith("event: result\n")


def test_a_long_answer_for_a_client_of_http_1_0_is_in_no_chunks(service):
    body = json.dumps(
        {"args": ["sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x"], "limits": {"output": "8M"}}
    ).encode()
    head, _, rest = said(service.port, old("/v1/runs", body)).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert json.loads(rest)["result"]["stdout"]["bytes"] == "x" * 5_000_000


def test_a_short_answer_for_a_client_of_http_1_0_has_its_length(service):
    body = json.dumps({"args": ["true"]}).encode()
    for data in (old("/v1/runs", body), b"HEAD /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n"):
        head, _, rest = said(service.port, data).partition(b"\r\n\r\n")
        length = int(
            next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split(b":")[1]
        )
        assert len(rest) == (0 if data.startswith(b"HEAD") else length)


def test_who_asks_for_a_head_alone_whether_it_is_well_gets_no_body(service):
    for path in ("/healthz", "/readyz", "/metrics"):
        came = said(service.port, f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert came.startswith(b"HTTP/1.1 200 ") and came.endswith(b"\r\n\r\n")
