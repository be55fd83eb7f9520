"""How long a request takes, how many there are in a second, and what they cost: beside the same runs in process."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

import pyjail
from benchmarks import serve_client
from benchmarks.serve_client import ARGS, LIMITS, Caller, Found, Sizes, quantile, repeated, request, served
from pyjail import aio

P50, P50_MORE, P99 = 1.35, 0.5, 1.5  # times in process, and ms more
RATES = {4: 0.70, 16: 0.60, 64: 0.60}
TAIL = 2.0  # times the clients for each run of a second
CPU = 1.4


def median(rows: list[tuple[float, ...]]) -> list[float]:
    """Of each column."""
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def _run() -> None:
    assert pyjail.run(ARGS, LIMITS).ok


def latency(sizes: Sizes) -> list[Found]:
    """One client that comes again at once, beside `pyjail.run`: p50, p99; and the floor."""
    rows, floor = [], []
    bare = [sys.executable, "-m", "benchmarks.serve_floor", "run"]
    with (
        served() as server, serve_client.listening(bare) as other, Caller(server.port) as caller,
        Caller(other.port) as least,
    ):  # fmt: skip
        data, same = request(server.port), request(other.port)
        for warm in (_run, lambda: caller.call(data), lambda: least.call(same)):
            repeated(warm, 0.5)
        for _ in range(sizes.rounds):
            own = repeated(_run, sizes.seconds)
            rows.append((own, repeated(lambda: caller.call(data), sizes.seconds)))
            floor.append(quantile(repeated(lambda: least.call(same), sizes.seconds), 0.5) / quantile(own, 0.5))
    found = [
        Found(
            "the floor: p50 of no framework and no check, which runs it and tells the verdict",
            f"{statistics.median(floor):.2f} x ({min(floor):.2f} to {max(floor):.2f})",
        )
    ]
    for name, part, most in (("p50", 0.5, P50), ("p99", 0.99, P99)):
        pairs = [(quantile(own, part) * 1e3, quantile(http, part) * 1e3) for own, http in rows]
        own, http = median(pairs)
        ratios = sorted(b / a for a, b in pairs)
        ratio = statistics.median(ratios)
        said = f"{ratio:.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f}), {http - own:+.2f} ms; {own:.2f} and {http:.2f} ms"
        goal, met = f"<= {most} x", ratio <= most
        if name == "p50":
            goal, met = f"{goal} and <= +{P50_MORE} ms", met and http - own <= P50_MORE
        found.append(Found(f"latency, 1 client, {name}: in process and by HTTP", said, goal, met))
    return found


def throughput(sizes: Sizes) -> list[Found]:
    """Runs per second of 4, 16 and 64 clients, beside `pyjail.aio.run` with as many slots, and their p99."""
    found = []
    aio.set_concurrency(len(os.sched_getaffinity(0)))
    with served() as server:
        serve_client.looped(serve_client.by_http(server.port, 4, 0.5))
        for count, least in RATES.items():
            rows = []
            for _ in range(sizes.rounds):
                own = _rate(serve_client.looped(serve_client.in_process(count, sizes.seconds)), sizes.seconds)
                took = serve_client.looped(serve_client.by_http(server.port, count, sizes.seconds))
                http, p99 = _rate(took, sizes.seconds), quantile(took, 0.99)
                rows.append((own, http, http / own, p99 * 1e3, p99 * http / count))
            own, http, ratio, p99, tail = median(rows)
            spread = f"{min(r[2] for r in rows):.2f} to {max(r[2] for r in rows):.2f}"
            said = f"{ratio:.2f} x ({spread}); {own:.0f} and {http:.0f}/s"
            found.append(
                Found(f"throughput, {count} clients: in process and by HTTP", said, f">= {least} x", ratio >= least)
            )
            said = f"{p99:.1f} ms, {tail:.2f} x of {count} / throughput"
            met = tail <= TAIL if count == 64 else None
            found.append(Found(f"p99 at {count} clients", said, f"<= {TAIL:g} x" if count == 64 else "", met))
    return found


def _rate(took: list[float], seconds: float) -> float:
    return len(took) / seconds


def cpu(sizes: Sizes) -> list[Found]:
    """CPU time of the service (its keepers and programs, too) and of one client for each request, beside a run in process;
    and the floor: the same client before uvicorn alone, which answers a constant of the same length."""
    with served() as server, Caller(server.port) as caller:
        data = request(server.port)
        caller.call(data)
        status, body = caller.ask(data)
        assert status == 200, body
        constant = [sys.executable, "-m", "benchmarks.serve_floor", str(len(body))]
        with serve_client.listening(constant) as bare, Caller(bare.port) as other:
            question = request(bare.port)
            kinds: tuple[tuple[Callable[[], object], int | None], ...] = (
                (_run, None),
                (lambda: caller.call(data), server.pid),
                (lambda: other.call(question, b"xxx"), bare.pid),
            )
            rows = [_spent(kinds, (server.pid, bare.pid), sizes.seconds) for _ in range(sizes.rounds)]
    runs, (p50, _, client), (p50_bare, bare_server, bare_client) = (
        median(list(kind)) for kind in zip(*rows, strict=True)
    )
    (in_process,) = (median([(own + below,) for _, own, below in (row[0] for row in rows)]),)
    ratio = statistics.median((row[1][1] + row[1][2]) / (row[0][1] + row[0][2]) for row in rows)
    served_cpu = statistics.median(row[1][1] for row in rows)
    said = (
        f"{ratio:.2f} x: {in_process[0]:.2f} ms in process; by HTTP {served_cpu:.2f} ms of the service and "
        f"{client:.2f} ms of the client"
    )
    floor = f"{bare_server:.2f} ms of the server and {bare_client:.2f} ms of the client, p50 {p50_bare:.2f} ms"
    return [
        Found("CPU time for each request", said, f"<= {CPU} x", ratio <= CPU),
        Found(f"the floor: a constant of {len(body)} bytes by uvicorn alone", floor),
        Found("p50 of these turns: in process, by HTTP, HTTP alone", f"{runs[0]:.2f}, {p50:.2f}, {p50_bare:.2f} ms"),
    ]


def _spent(
    kinds: tuple[tuple[Callable[[], object], int | None], ...], servers: tuple[int, ...], seconds: float
) -> list[tuple[float, float, float]]:
    """Of each kind, for one call, in ms: p50, CPU below the server or below us, CPU of our own."""
    found = []
    for call, pid in kinds:
        before = _below(pid, servers), time.process_time()
        took = repeated(call, seconds)
        if pid is None:
            time.sleep(0.05)  # what a run leaves to be done is its own
        below, own = _below(pid, servers) - before[0], time.process_time() - before[1]
        found.append((quantile(took, 0.5) * 1e3, below / len(took) * 1e3, own / len(took) * 1e3))
    return found


def _below(pid: int | None, servers: tuple[int, ...]) -> float:
    """CPU seconds of a server, or of what else is below this process."""
    if pid is not None:
        return serve_client.cpu(pid)
    return serve_client.cpu(os.getpid()) - sum(map(serve_client.cpu, servers)) - time.process_time()
