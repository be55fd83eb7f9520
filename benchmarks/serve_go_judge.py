"""The same command by go-judge's HTTP and by ours: ``--go-judge PROGRAM`` names its binary."""

from __future__ import annotations

import json
import os
import statistics

from benchmarks import serve_client
from benchmarks.serve_client import Caller, Found, Sizes, by_http, free_port, looped, quantile, repeated, request

LATENCY, RATE = 0.7, 1.0  # times go-judge's
COUNTS = (4, 16, 64)
MEMORY, PROCESSES, OUTPUT = 64 << 20, 50, 10240
ASKED = json.dumps({
    "cmd": [{
        "args": serve_client.ARGS, "env": ["PATH=/usr/bin:/bin"],
        "files": [{"content": ""}, {"name": "stdout", "max": OUTPUT}, {"name": "stderr", "max": OUTPUT}],
        "cpuLimit": 5_000_000_000, "clockLimit": 15_000_000_000, "memoryLimit": MEMORY, "procLimit": PROCESSES,
    }]
}).encode()  # fmt: skip
NATIVE = json.dumps(
    {"args": serve_client.ARGS, "limits": {"memory": MEMORY, "processes": PROCESSES, "output": OUTPUT}}
).encode()
_ACCEPTED = b'"status":"Accepted"'


def go_judge(sizes: Sizes) -> list[Found]:
    """go-judge beside `/v1/runs`, and beside our face that answers go-judge's own request: p50 of one client, runs per second."""
    if not sizes.go_judge:
        return [Found("go-judge", "no binary was given: --go-judge PROGRAM")]
    port, slots = free_port(), str(len(os.sched_getaffinity(0)))
    command = [sizes.go_judge, "-http-addr", f"127.0.0.1:{port}", "-parallelism", slots, "-silent"]
    with serve_client.started(command, port), serve_client.served() as server:
        kinds = {
            "go-judge": (port, request(port, ASKED, "/run"), _ACCEPTED),
            "/v1/runs": (server.port, request(server.port, NATIVE), serve_client.OK),
            "our /go-judge/run": (server.port, request(server.port, ASKED, "/go-judge/run"), _ACCEPTED),
        }
        return [*_latency(kinds, sizes), *(_rates(kinds, count, sizes) for count in COUNTS)]


Kinds = dict[str, tuple[int, bytes, bytes]]


def _latency(kinds: Kinds, sizes: Sizes) -> list[Found]:
    rows: list[dict[str, float]] = []
    for turn in range(sizes.rounds + 1):
        row = {}
        for name, (port, data, expected) in kinds.items():
            with Caller(port) as caller:
                took = repeated(lambda: caller.call(data, expected), sizes.seconds if turn else 0.5)  # noqa: B023
            row[name] = quantile(took, 0.5) * 1e3
        rows += [row] if turn else []
    return [_compared("latency, 1 client, p50", rows, "ms", f"<= {LATENCY} x", lambda ratio: ratio <= LATENCY)]


def _rates(kinds: Kinds, count: int, sizes: Sizes) -> Found:
    rows = [
        {
            name: len(looped(by_http(port, count, sizes.seconds, data=data, expected=expected))) / sizes.seconds
            for name, (port, data, expected) in kinds.items()
        }
        for _ in range(sizes.rounds)
    ]
    return _compared(f"throughput, {count} clients", rows, "/s", f">= {RATE} x", lambda ratio: ratio >= RATE)


def _compared(what, rows, unit, goal, met) -> Found:
    """Each beside the first."""
    theirs, *ours = rows[0]
    ratios = {name: statistics.median(row[name] / row[theirs] for row in rows) for name in ours}
    values = ", ".join(f"{name} {statistics.median(row[name] for row in rows):.4g} {unit}" for name in rows[0])
    said = ", ".join(f"{name} {ratio:.2f} x" for name, ratio in ratios.items())
    return Found(f"{what}: beside go-judge", f"{said} ({values})", goal, met(ratios["/v1/runs"]))
