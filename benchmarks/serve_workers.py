"""Whether more processes of the service are worth anything: two of them, with half of the slots and of the clients each,
beside one with all. Programs share the CPUs with whatever runs them."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks import serve_client
from benchmarks.serve_client import Found, Server, Sizes, quantile, request, served

CLIENTS = 16
PROGRAMS = {"true": ["/bin/true"], "one of some 10 ms": ["python3", "-S", "-c", "sum(range(300000))"]}


async def _over(servers: Sequence[Server], seconds: float, body: bytes) -> list[float]:
    each = CLIENTS // len(servers)
    took = (serve_client.by_http(one.port, each, seconds, data=request(one.port, body)) for one in servers)
    return [one for many in await asyncio.gather(*took) for one in many]


def workers(sizes: Sizes) -> list[Found]:
    """Runs per second, CPU time for each, and p99: of one process, and of two with as many slots together, or twice as
    many, as one may have, too."""
    cpus = len(os.sched_getaffinity(0))
    with ExitStack() as stack:

        def started(slots: int) -> Server:
            return stack.enter_context(served(config=f"[serve.admission]\nconcurrent = {slots}"))

        ways: dict[str, list[Server]] = {}
        for slots in (cpus, 2 * cpus):
            ways[f"one process, {slots} slots"] = [started(slots)]
            ways[f"two, {slots // 2} slots each"] = [started(slots // 2), started(slots // 2)]
        return [row for name, args in PROGRAMS.items() for row in _compared(sizes, ways, name, args)]


def _compared(sizes: Sizes, ways: dict[str, list[Server]], program: str, args: list[str]) -> list[Found]:
    body = json.dumps({"args": args}).encode()
    rows: dict[str, list[tuple[float, ...]]] = {way: [] for way in ways}
    for servers in ways.values():
        serve_client.looped(_over(servers, 0.5, body))
    for _ in range(sizes.rounds):
        for way, servers in ways.items():
            before = sum(serve_client.cpu(one.pid) for one in servers)
            took = serve_client.looped(_over(servers, sizes.seconds, body))
            used = sum(serve_client.cpu(one.pid) for one in servers) - before
            rows[way].append((len(took) / sizes.seconds, quantile(took, 0.99) * 1e3, used / len(took) * 1e3))
    found, first = [], next(iter(ways))
    for way in ways:
        ratio = statistics.median(a[0] / b[0] for a, b in zip(rows[way], rows[first], strict=True))
        rate, p99, cpu = (statistics.median(column) for column in zip(*rows[way], strict=True))
        said = f"{rate:.0f}/s, {cpu:.2f} ms of CPU each, p99 {p99:.0f} ms; {ratio:.2f} x"
        found.append(Found(f"{CLIENTS} clients, {program}, {way}", said))
    return found
