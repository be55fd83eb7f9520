"""How soon a program is gone that nobody wants any more: by DELETE, and when its client leaves."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.serve_client import Caller, Found, Server, Sizes, quantile, request, served
from pyjail import testing

MOST = 50.0  # ms
_PATIENCE = 30.0
_LEAST = 10  # programs that are ended, however short a turn is


def cancel(sizes: Sizes) -> list[Found]:
    """From the request, or the client's FIN, to the end of the program, as its pidfd says; and to DELETE's answer, when its
    jail is gone."""
    gone: list[float] = []
    answered: list[float] = []
    left: list[float] = []
    with served() as server, Caller(server.port) as caller:
        for _ in range(sizes.rounds):
            end = time.monotonic() + sizes.seconds / 2
            while time.monotonic() < end or len(left) < _LEAST:
                took, said = _deleted(server, caller)
                gone.append(took)
                answered.append(said)
                left.append(_left(server))
    return [
        _found("from DELETE to the end of the program", gone, goal=True),
        _found("from DELETE to its answer: the jail is gone", answered, goal=True),
        _found("from a client's FIN to the end of its program", left, goal=True),
    ]


def _found(what: str, took: list[float], *, goal: bool) -> Found:
    p50, p99 = quantile(took, 0.5) * 1e3, quantile(took, 0.99) * 1e3
    said = f"p50 {p50:.2f}, p99 {p99:.2f} ms, of {len(took)}"
    return Found(what, said, f"p99 <= {MOST:g} ms" if goal else "", p99 <= MOST)


def _asked(server: Server, word: str, more: str = "") -> bytes:
    return request(server.port, json.dumps({"args": ["sleep", word]}).encode(), more=more)


def _word() -> str:
    return f"1000.{time.monotonic_ns()}"


def _deleted(server: Server, caller: Caller) -> tuple[float, float]:
    """Seconds to the program's end, and to the answer."""
    word = _word()
    status, body = caller.ask(_asked(server, word, "Prefer: respond-async\r\n"))
    assert status == 202, body
    head = f"DELETE /v1/runs/{json.loads(body)['id']} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
    answers: list[float] = []

    def end() -> None:
        began = time.perf_counter()
        status, body = caller.ask(head.encode())
        assert status == 200 and b'"cancelled"' in body, body
        answers.append(time.perf_counter() - began)

    return _until_gone(server, word, end), answers[0]


def _left(server: Server) -> float:
    word = _word()
    with socket.create_connection(("127.0.0.1", server.port), _PATIENCE) as one:
        one.sendall(_asked(server, word))
        return _until_gone(server, word, one.close)


def _until_gone(server: Server, word: str, end: Callable[[], object]) -> float:
    """Seconds from this call to the end of the program of that word."""
    fd = os.pidfd_open(_pid(server, word.encode()))
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        began = time.perf_counter()
        end()
        assert poll.poll(_PATIENCE * 1e3), "it did not end"
        return time.perf_counter() - began
    finally:
        os.close(fd)


def _pid(server: Server, word: bytes) -> int:
    """Of the program, once it runs."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        for pid in testing.below(server.pid):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0" + word):
                    return pid
        time.sleep(0.001)
    raise AssertionError("it did not start")
