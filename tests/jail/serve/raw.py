"""HTTP by hand over sockets: what no client library would send."""

from __future__ import annotations

import contextlib
import re
import socket

from tests.jail.serve.served import PATIENCE

RUN = b'{"args": ["true"]}'


def connect(port: int) -> socket.socket:
    """A connection to 127.0.0.1."""
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def head(*lines: str, method: str = "POST", path: str = "/v1/runs", body: int | None = None) -> bytes:
    """A request's head, with a Host, Content-Type, and these lines."""
    length = [] if body is None else [f"Content-Length: {body}"]
    start = f"{method} {path} HTTP/1.1"
    return "\r\n".join([start, "Host: localhost", "Content-Type: application/json", *length, *lines, "", ""]).encode()


def until_closed(sock: socket.socket) -> bytes:
    """All that comes before the other end closes."""
    came = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(1 << 16):
            came += data
    return came


def answer(sock: socket.socket) -> bytes:
    """The next one, whole; it has a Content-Length."""
    with sock.makefile("rb", buffering=0) as came:
        lines = list(iter(came.readline, b"\r\n"))
        length = next(int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:"))
        body = b""
        while len(body) < length:
            body += came.read(length - len(body)) or b""
        return b"".join(lines) + b"\r\n" + body


def said(port: int, data: bytes) -> bytes:
    """All that is answered to this, by a server that closes then."""
    with connect(port) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        return until_closed(sock)


def statuses(came: bytes) -> list[int]:
    """Of all answers in there."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", came)]
