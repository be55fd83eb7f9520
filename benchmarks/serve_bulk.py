"""Long input and output, beside the same in process; and what the service holds of files that are sent to it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import statistics
from pathlib import Path

import pyjail
from benchmarks.serve_client import Client, Found, Server, Sizes, by_http, closed, looped, request, served
from pyjail import aio

LEAST = 0.8  # times in process
CLIENTS = 4
INPUT, TIMES = 64 << 10, 16  # bytes that go in, and how often they come out
SCRIPT = "cat > a; exec cat" + TIMES * " a"
_LIMITS = pyjail.Limits(cpu_time=5, wall_time=15, memory="256M", processes=64, output="2M", disk="64M")
UPLOAD, IN_FLIGHT = 10 << 20, 8
RSS = 2.0  # MiB of memory for each file that is just coming
_PIECE = 256 << 10


def bulk(sizes: Sizes) -> list[Found]:
    """64 KiB of input and 1 MiB of output, runs per second of 4 clients; uploads of 10 MiB."""
    return [_throughput(sizes), *_uploads(sizes)]


def _text() -> str:
    """Lines that no compression makes short, as text."""
    made = random.Random(1)
    return "".join(f"{made.getrandbits(248):062x}\n" for _ in range(INPUT // 63 + 1))[:INPUT]


def _throughput(sizes: Sizes) -> Found:
    text = _text()
    args = ["sh", "-c", SCRIPT]
    data = text.encode()
    aio.set_concurrency(len(os.sched_getaffinity(0)))

    async def one(_: int) -> None:
        result = await aio.run(args, _LIMITS, input=data)
        assert len(result.stdout) == INPUT * TIMES

    asked = json.dumps({"args": args, "stdin": text, "limits": {"output": "2M"}}).encode()
    rows = []
    with served() as server:
        looped(by_http(server.port, CLIENTS, 0.5, data=request(server.port, asked)))
        for _ in range(sizes.rounds):
            own = len(looped(closed(CLIENTS, one, sizes.seconds))) / sizes.seconds
            took = looped(by_http(server.port, CLIENTS, sizes.seconds, data=request(server.port, asked)))
            rows.append((own, len(took) / sizes.seconds))
    ratios = sorted(b / a for a, b in rows)
    ratio = statistics.median(ratios)
    own, http = (statistics.median(column) for column in zip(*rows, strict=True))
    said = f"{ratio:.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f}); {own:.0f} and {http:.0f}/s"
    what = f"64 KiB of input and 1 MiB of output, {CLIENTS} clients: in process and by HTTP"
    return Found(what, said, f">= {LEAST} x", ratio >= LEAST)


def _uploads(sizes: Sizes) -> list[Found]:
    """Memory while files are coming: all but the end of each is there."""
    with served() as server:
        looped(_upload(server, 1))  # what is needed for the first
        rows = [looped(_upload(server, IN_FLIGHT)) for _ in range(sizes.rounds)]
    grown = max(peak for peak, _ in rows)
    seconds = statistics.median(took for _, took in rows)
    rate = IN_FLIGHT * UPLOAD / (1 << 20) / seconds
    return [
        Found(
            f"memory of the service for each of {IN_FLIGHT} files of 10 MiB that are just coming",
            f"{grown:+.2f} MiB", f"<= {RSS:g} MiB", grown <= RSS,
        ),
        Found("files of 10 MiB: sent, hashed and kept", f"{rate:.0f} MiB/s"),
    ]  # fmt: skip


async def _upload(server: Server, count: int) -> tuple[float, float]:
    """MiB of memory for each while all but the end is there, and the seconds that all took."""
    loop, before = asyncio.get_running_loop(), _rss(server.pid)
    contents = [os.urandom(_PIECE) * (UPLOAD // _PIECE) for _ in range(count)]
    clients = [await Client.connect(server.port) for _ in contents]
    began, peak = loop.time(), before
    for client, data in zip(clients, contents, strict=True):
        digest = hashlib.sha256(data).hexdigest()
        head = f"PUT /v1/files/{digest} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {len(data)}\r\n"
        client.transport.write(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + data[:-1])
    while any(client.transport.get_write_buffer_size() for client in clients):
        peak = max(peak, _rss(server.pid))
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.2)
    peak = max(peak, _rss(server.pid))
    waited = 0.2
    for client, data in zip(clients, contents, strict=True):
        status, body = await client.ask(data[-1:], lambda answer: (answer.status, answer.body))
        assert status == 201, (status, body)
        client.transport.close()
    return (peak - before) / count, loop.time() - began - waited


def _rss(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
