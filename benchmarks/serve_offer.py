"""Requests that come whether those before were answered or not: `offer`, by a client that does little besides system calls."""

from __future__ import annotations

import collections
import contextlib
import select
import socket
import time
from dataclasses import dataclass, field

from benchmarks.serve_client import Answers

RAMP = 1.0  # seconds in which the queue fills, which are not looked at
CONNECTIONS = 768  # more than wait in the queue, so that who is refused finds one
_TURN = 0.0005  # seconds between two looks for what is due, and for what has come
_PATIENCE = 60.0  # seconds for what was asked before the end
_STARTS = 30.0


@dataclass
class Offered:
    """What became of them."""

    sent: int = 0
    good: int = 0  # in time
    late: int = 0  # before the start, or after the end
    refused: list[float] = field(default_factory=list)  # seconds until 429 or 503
    early: int = 0  # refused before the start
    wrong: collections.Counter[int] = field(default_factory=collections.Counter)  # other statuses
    lost: int = 0
    held: int = 0  # for which no connection was free
    cpu: float = 0.0  # seconds of this client's, from the start to the end


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), _STARTS)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answers, self.at = Answers(), 0.0


def offer(port: int, data: bytes, rate: float, seconds: float) -> Offered:
    """So many requests a second, for so long after a ramp."""
    load, poller = Offered(), select.epoll()
    of = {c.socket.fileno(): c for c in (_Connection(port) for _ in range(CONNECTIONS))}
    for number in of:
        poller.register(number, select.EPOLLIN)
    idle, waiting = list(of.values()), 0
    begin = time.perf_counter()
    start, due, cpu = begin + RAMP, 0, 0.0
    end = start + seconds

    def came(connection: _Connection, now: float) -> None:
        nonlocal waiting
        size = 0
        with contextlib.suppress(ConnectionError):
            size = connection.socket.recv_into(connection.answers.room())
        if size and not connection.answers.came(size):
            return
        waiting -= 1
        if not size:
            load.lost += 1
            poller.unregister(connection.socket)
            return
        status = connection.answers.status
        connection.answers.next()
        idle.append(connection)
        if status == 200:
            load.good += start <= now < end
            load.late += not start <= now < end
        elif status in (429, 503):
            load.early += connection.at < start
            load.refused += [now - connection.at] if connection.at >= start else []
        else:
            load.wrong[status] += 1

    while (now := time.perf_counter()) < end + _PATIENCE and (now < end or waiting):
        if now < end:
            before, due = due, int((now - begin) * rate)
            for _ in range(due - before):
                if not idle:
                    load.held += 1
                    continue
                connection = idle.pop()
                connection.at = time.perf_counter()
                connection.socket.send(data)
                load.sent += 1
                waiting += 1
            if now < start:
                cpu = time.thread_time()
            load.cpu = time.thread_time() - cpu
        time.sleep(_TURN)
        for number, _ in poller.poll(0):
            came(of[number], time.perf_counter())
    load.lost += waiting
    for connection in of.values():
        connection.socket.close()
    poller.close()
    return load
