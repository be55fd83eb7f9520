"""Many at once who want nothing: half a request from each of a thousand addresses, and clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import socket
from pathlib import Path

import httpx
import pytest

from pyjail.serve.config import Config, Edge
from tests.conftest import SLOW
from tests.jail.serve import raw
from tests.jail.serve.served import PATIENCE, Served, served
from tests.scripts import until

HALF = b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\n"


def fds(service: Served) -> int:
    return len(os.listdir(f"/proc/{service.pid}/fd"))


def runs(service: Served) -> bool:
    return httpx.post(f"{service.url}/v1/runs", json={"args": ["true"]}, timeout=PATIENCE).status_code == 200


def half_open(stack: contextlib.ExitStack, port: int, count: int) -> list[socket.socket]:
    """Connections from as many addresses of the loopback, each with a part of a head."""
    made = []
    for n in range(count):
        sock = stack.enter_context(socket.socket())
        sock.settimeout(PATIENCE)
        sock.bind((f"127.0.{1 + n // 250}.{1 + n % 250}", 0))
        sock.connect(("127.0.0.1", port))
        with contextlib.suppress(OSError):
            sock.sendall(HALF[: n % len(HALF)])
        made.append(sock)
    return made


def test_a_thousand_half_open_connections_hold_nobody_up_and_end():
    with served(Config(edge=Edge(head_time=4 * SLOW))) as service, contextlib.ExitStack() as stack:
        assert runs(service)
        before = fds(service)
        crowd = half_open(stack, service.port, 1000)
        assert runs(service)
        for sock in crowd:
            assert raw.statuses(raw.until_closed(sock)) == [408]
        assert until(lambda: fds(service) <= before + 4, PATIENCE)


def test_connections_leave_fds_for_runs():
    """However few this process may have: what connects beyond that is told so."""
    with served(within=["prlimit", "--nofile=256:1200"]) as service, contextlib.ExitStack() as stack:
        assert re.search(r"Max open files +1200 ", Path(f"/proc/{service.pid}/limits").read_text())
        crowd = half_open(stack, service.port, 700)
        assert [raw.statuses(raw.until_closed(sock)) for sock in crowd[-50:]] == [[503]] * 50
        for sock in crowd[:300]:
            sock.close()
        assert until(lambda: runs(service), PATIENCE)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_who_leaves_at_once_is_forgotten(count: int):
    body = json.dumps({"args": ["sleep", "100"]}).encode()
    request = raw.head(body=len(body)) + body

    async def leave(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request if random.random() < 0.8 else request[: random.randrange(len(request))])
        await writer.drain()
        await asyncio.sleep(random.choice((0, 0.001, 0.005, 0.02)))
        writer.transport.abort() if random.random() < 0.5 else writer.close()

    async def all_of_them(port: int) -> None:
        for _ in range(count // 20):
            await asyncio.gather(*(leave(port) for _ in range(20)))

    with served() as service:
        assert runs(service)
        before = fds(service)
        asyncio.run(all_of_them(service.port))
        assert runs(service)
        assert until(lambda: service.programs() == [], PATIENCE)
        # Who finds only keepers that are being armed is given one more, after some times: as many as stay warm at most.
        assert until(lambda: fds(service) <= before + min(count - 100, 400), PATIENCE)
        assert "Traceback" not in service.log()
