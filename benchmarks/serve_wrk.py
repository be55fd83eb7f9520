"""The same figures by a client in C, which takes less of the CPUs that it shares with the service: wrk 4.1, as Debian has it."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import tempfile

import pyjail
from benchmarks import serve_client
from benchmarks.serve_client import ARGS, LIMITS, Found, Server, Sizes, quantile, repeated, served
from benchmarks.serve_speed import P50, P50_MORE, RATES
from pyjail import aio

_POST = f"""wrk.method = "POST"
wrk.body = [[{serve_client.BODY.decode()}]]
wrk.headers["Content-Type"] = "application/json"
"""
_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def wrk(sizes: Sizes) -> list[Found]:
    """p50 of one client beside `pyjail.run`, runs per second of 4, 16 and 64 beside `pyjail.aio.run`."""
    if shutil.which("wrk") is None:
        return [Found("wrk", "it is not installed: apt-get install wrk")]
    aio.set_concurrency(len(os.sched_getaffinity(0)))
    with served() as server, tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_POST)
        script.flush()
        _asked(server, script.name, 4, 1)
        repeated(_run, 0.5)
        pairs = []
        for _ in range(sizes.rounds):
            own = quantile(repeated(_run, sizes.seconds), 0.5) * 1e3
            pairs.append((own, _asked(server, script.name, 1, sizes.seconds)[0]))
        ratio, more = (statistics.median(values) for values in zip(*((b / a, b - a) for a, b in pairs), strict=True))
        said = f"{ratio:.2f} x, {more:+.2f} ms; {statistics.median(a for a, _ in pairs):.2f} ms in process"
        goal = f"<= {P50} x and <= +{P50_MORE} ms"
        found = [Found("latency, 1 client of wrk, p50", said, goal, ratio <= P50 and more <= P50_MORE)]
        for count, least in RATES.items():
            rates = []
            for _ in range(sizes.rounds):
                own = len(serve_client.looped(serve_client.in_process(count, sizes.seconds))) / sizes.seconds
                rates.append((own, _asked(server, script.name, count, sizes.seconds)[1]))
            ratio = statistics.median(http / own for own, http in rates)
            said = f"{ratio:.2f} x; {statistics.median(http for _, http in rates):.0f}/s"
            found.append(Found(f"throughput, {count} clients of wrk", said, f">= {least} x", ratio >= least))
    return found


def _run() -> None:
    assert pyjail.run(ARGS, LIMITS).ok


def _asked(server: Server, script: str, count: int, seconds: float) -> tuple[float, float]:
    """(p50 in ms, requests per second)."""
    duration = f"{max(1, round(seconds))}s"
    command = ["wrk", "-t1", f"-c{count}", f"-d{duration}", "--latency", "-s", script]
    url = f"http://127.0.0.1:{server.port}/v1/runs"
    told = subprocess.run([*command, url], capture_output=True, text=True, check=True, timeout=120).stdout
    assert "Non-2xx" not in told, told
    p50, rate = re.search(r" 50% +([\d.]+)(us|ms|s)", told), re.search(r"Requests/sec: +([\d.]+)", told)
    assert p50 is not None and rate is not None, told
    return float(p50[1]) * _MS[p50[2]], float(rate[1])
