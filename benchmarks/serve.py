"""What the HTTP service costs: ``python -m benchmarks.serve [PART]... [--seconds S] [--rounds N]``, or ``./dev bench-serve``.

A real `pyjail serve` on the loopback beside the same runs in process, in alternate turns; told are medians of the turns'
ratios. Clients keep their connections, and share this machine's CPUs with the service. Parts: latency, throughput,
overload, events, memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pyjail
from pyjail import aio

ARGS = ["/bin/true"]
LIMITS = pyjail.Limits(
    cpu_time=5, wall_time=15, memory="256M", processes=64, output="1M", disk="64M"
)  # as the service's
BODY = json.dumps({"args": ARGS}).encode()


def request(port: int, body: bytes = BODY, more: str = "") -> bytes:
    """POST /v1/runs."""
    head = f"POST /v1/runs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextlib.contextmanager
def served(*options: str) -> Iterator[tuple[int, int]]:
    """A service: (its port, its pid)."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "pyjail", "serve", "--port", "0", *options], stdout=subprocess.PIPE, stderr=said
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline().decode()
            found = re.search(r":(\d+)", line)
            if found is None:
                said.seek(0)
                raise SystemExit(f"the service did not start: {line} {said.read().decode()}")
            yield int(found[1]), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


class Client:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        """(the status, the body)."""
        self.writer.write(data)
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        return int(head.split(b" ", 2)[1]), await self.reader.readexactly(size)


async def closed(count: int, seconds: float, one: Callable[[int], Awaitable[None]]) -> list[float]:
    """Seconds that each call took, of so many callers who come again at once."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        while (began := time.perf_counter()) < end:
            await one(number)
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(caller(n) for n in range(count)))
    return took


async def by_http(port: int, count: int, seconds: float) -> list[float]:
    data = request(port)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(port)) for _ in range(count)]

        async def one(number: int) -> None:
            status, body = await clients[number].ask(data)
            assert status == 200 and b'"verdict":"ok"' in body, (status, body[:300])

        return await closed(count, seconds, one)


async def in_process(count: int, seconds: float) -> list[float]:
    async def one(_: int) -> None:
        assert (await aio.run(ARGS, LIMITS)).ok

    return await closed(count, seconds, one)


def quantile(took: list[float], part: float) -> float:
    return sorted(took)[min(len(took) - 1, int(len(took) * part))]


def latency(seconds: float, rounds: int) -> None:
    """One client, beside `pyjail.run`."""
    with served() as (port, _):
        rows = []
        asyncio.run(by_http(port, 1, 0.5))
        for _ in range(rounds):
            end, own = time.perf_counter() + seconds, []
            while (began := time.perf_counter()) < end:
                assert pyjail.run(ARGS, LIMITS).ok
                own.append(time.perf_counter() - began)
            rows.append((own, asyncio.run(by_http(port, 1, seconds))))
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        pairs = [(quantile(a, part) * 1e3, quantile(b, part) * 1e3) for a, b in rows]
        own, http = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"latency {name}: in process {own:.2f} ms, by HTTP {http:.2f} ms: {ratio:.2f} x, +{http - own:.2f} ms")


def throughput(seconds: float, rounds: int) -> None:
    """Runs per second, beside `pyjail.aio.run` with as many slots."""
    aio.set_concurrency(len(os.sched_getaffinity(0)))
    with served() as (port, _):
        asyncio.run(by_http(port, 4, 0.5))
        for count in (1, 4, 16, 64):
            rows = []
            for _ in range(rounds):
                own = len(asyncio.run(in_process(count, seconds))) / seconds
                took = asyncio.run(by_http(port, count, seconds))
                rows.append((own, len(took) / seconds, quantile(took, 0.99) * 1e3))
            a, b, p99 = (statistics.median(column) for column in zip(*rows, strict=True))
            ratio = statistics.median(http / own for own, http, _ in rows)
            print(
                f"throughput, {count} clients: in process {a:.0f}/s, by HTTP {b:.0f}/s: {ratio:.2f} x; p99 {p99:.1f} ms"
            )


def overload(seconds: float, rounds: int) -> None:
    """Four times as many requests as it can take, whether answered or not."""
    with served() as (port, _):
        data = request(port)
        peak = len(asyncio.run(by_http(port, 16, seconds))) / seconds
        good, refused = asyncio.run(_open_loop(port, data, 4 * peak, seconds))
        print(
            f"overload 4 x {peak:.0f}/s: {good / seconds:.0f}/s answered ({good / seconds / peak:.2f} x of the peak); "
            + (f"{len(refused)} refused, p99 {quantile(refused, 0.99) * 1e3:.1f} ms" if refused else "none refused")
        )


async def _open_loop(port: int, data: bytes, rate: float, seconds: float) -> tuple[int, list[float]]:
    good, refused, idle = 0, [], []
    loop = asyncio.get_running_loop()

    async def one() -> None:
        nonlocal good
        client = idle.pop() if idle else await Client(port).__aenter__()
        began = time.perf_counter()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            status, _ = await client.ask(data)
            if status == 200:
                good += loop.time() < end
            else:
                refused.append(time.perf_counter() - began)
            idle.append(client)

    begin, tasks = loop.time(), []
    end = begin + seconds
    while (now := loop.time()) < end:
        due = int((now - begin) * rate) - len(tasks)
        tasks += [loop.create_task(one()) for _ in range(min(due, 50))]
        await asyncio.sleep(0.001)
    await asyncio.wait(tasks, timeout=40)
    return good, refused


def events(seconds: float, rounds: int) -> None:
    """From the program's write to the event at the client: the program says when it wrote."""
    code = "import sys, time\nfor _ in range(200):\n    print(time.clock_gettime(7), flush=True); time.sleep(0.01)\n"
    body = json.dumps({"args": ["python3", "-c", code]}).encode()
    took = []
    with served() as (port, _):
        for _ in range(rounds):
            asyncio.run(_events(port, request(port, body, "Accept: text/event-stream\r\n"), took))
    print(
        f"events: {len(took)}, from the write to the client p50 {quantile(took, 0.5) * 1e3:.2f} ms, p99 {quantile(took, 0.99) * 1e3:.2f} ms"
    )


async def _events(port: int, data: bytes, took: list[float]) -> None:
    async with Client(port) as client:
        client.writer.write(data)
        while line := await client.reader.readline():
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            if b"event: result" in line:
                return
            found = re.search(rb'"t":\s*"(\d+\.\d+)', line)
            if found:
                took.append(now - float(found[1]))


def memory(seconds: float, rounds: int) -> None:
    """RSS of the service over many runs."""
    with served() as (port, pid):
        asyncio.run(by_http(port, 4, seconds))
        before, runs = _rss(pid), 0
        for _ in range(rounds):
            runs += len(asyncio.run(by_http(port, 4, seconds)))
        after = _rss(pid)
        print(
            f"memory: {before} KiB, after {runs} runs {after} KiB: {(after - before) / runs * 100:.2f} KiB for 100 runs"
        )


def _rss(pid: int) -> int:
    return next(
        int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line
    )


PARTS = {f.__name__: f for f in (latency, throughput, overload, events, memory)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=3, help="of one turn (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default 5)")
    options = parser.parse_args()
    for name in options.parts or PARTS:
        PARTS[name](options.seconds, options.rounds)


if __name__ == "__main__":
    main()
