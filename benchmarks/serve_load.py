"""What the service does when more is asked of it than it can do, and when it is asked for long."""

from __future__ import annotations

import collections
import os
import re
import socket
import statistics
import time
from pathlib import Path

import pyjail
from benchmarks.serve_client import (
    LIMITS,
    Found,
    Server,
    Sizes,
    by_http,
    looped,
    quantile,
    request,
    served,
)
from benchmarks.serve_offer import CONNECTIONS, RAMP, Offered, offer
from pyjail import testing

PEAK_CLIENTS = 16
OFFERED = 4  # times the peak
GOODPUT, REFUSAL = 0.9, 5.0  # of the peak; ms
STEADY = 2.0  # seconds below which it is the beginning that is seen
_EDGE = f"[serve.edge]\nconnections = {2 * CONNECTIONS}\nconnections_per_client = {CONNECTIONS + 64}\n"
FIRST = 5.0  # ms
LINES, PAUSE = 20, 0.01
SLOPE = 1.0  # KiB for 100 runs
ENOUGH = 20_000  # runs below which a slope says nothing
CLIENTS, SAMPLES = 4, 20


def overload(sizes: Sizes) -> list[Found]:
    """Four times the peak, offered in an open loop: what is answered, how soon the rest is refused, and that none is lost."""
    rows: list[tuple[float, Offered]] = []
    with served(config=_EDGE) as server:
        looped(by_http(server.port, PEAK_CLIENTS, 0.5))
        for _ in range(sizes.rounds):
            peak = len(looped(by_http(server.port, PEAK_CLIENTS, sizes.seconds))) / sizes.seconds
            rows.append((peak, offer(server.port, request(server.port), OFFERED * peak, sizes.seconds)))
    peak = statistics.median(peak for peak, _ in rows)
    ratio = statistics.median(load.good / sizes.seconds / peak for peak, load in rows)
    offered = statistics.median(load.sent / (RAMP + sizes.seconds) / peak for peak, load in rows)
    refused = [took for _, load in rows for took in load.refused]
    total = {
        name: sum(getattr(load, name) for _, load in rows) for name in ("sent", "good", "late", "early", "lost", "held")
    }
    steady = sizes.seconds >= STEADY
    wrong = sum((load.wrong for _, load in rows), collections.Counter[int]())
    found = [
        Found(
            f"goodput while {offered:.1f} x the peak is offered", f"{ratio:.2f} x of {peak:.0f}/s", f">= {GOODPUT} x",
            ratio >= GOODPUT if steady else None,
        ),
        Found(
            "requests without an answer, or with another than 200, 429, 503",
            f"{total['lost'] + wrong.total()} of {total['sent']} ({total['good'] + total['late']} done, {len(refused) + total['early']} "
            f"refused" + (f"; statuses {dict(wrong)}" if wrong else "") + ")",
            "0", not total["lost"] and not wrong,
        ),
    ]  # fmt: skip
    if refused:
        p50, p99 = quantile(refused, 0.5) * 1e3, quantile(refused, 0.99) * 1e3
        said = f"p50 {p50:.1f}, p99 {p99:.1f} ms"
        found.insert(
            1,
            Found(
                "time until a request is refused", said, f"p99 <= {REFUSAL:g} ms", p99 <= REFUSAL if steady else None
            ),
        )
    busy = statistics.median(load.cpu / sizes.seconds for _, load in rows)
    found.append(Found("of one CPU, what the client that offers it takes", f"{busy:.2f}"))
    if total["held"]:
        found.append(Found("requests that were not sent: no connection was free", str(total["held"])))
    return found


_PROGRAM = f"""import os, time
for _ in range({LINES}):
    os.write(1, b"%.6f\\n" % time.clock_gettime({time.CLOCK_BOOTTIME}))
    time.sleep({PAUSE})
"""
_ARGS = ["python3", "-c", _PROGRAM]


def stream(sizes: Sizes) -> list[Found]:
    """From a program's write to the event at the client, the first of each program and all, beside a pipe of
    `pyjail.start`: the program writes down when it wrote."""
    first, every, piped = [], [], []
    with served() as server:
        _events(server, [])
        for _ in range(sizes.rounds):
            end = time.monotonic() + sizes.seconds
            while time.monotonic() < end:
                took: list[float] = []
                _events(server, took)
                first.append(took[0])
                every += took
                piped += _piped()
    found = []
    for what, took, goal in (
        ("the first output of a program, to its event at the client", first, True),
        ("any output, to its event at the client", every, False),
        ("any output, to a reader of pyjail.start", piped, False),
    ):
        p50, p99 = quantile(took, 0.5) * 1e3, quantile(took, 0.99) * 1e3
        said = f"p50 {p50:.2f}, p99 {p99:.2f} ms, of {len(took)}"
        found.append(Found(what, said, f"p99 <= {FIRST:g} ms" if goal else "", p99 <= FIRST if goal else None))
    return found


def _events(server: Server, took: list[float]) -> None:
    """Seconds from each write to what is read of it."""
    body = b'{"args":["python3","-c",%s]}' % _quoted(_PROGRAM)
    more = "Accept: text/event-stream\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 30) as one, one.makefile("rb") as lines:
        one.sendall(request(server.port, body, more=more))
        ended = False
        for line in lines:
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            ended = ended or line.startswith(b"event: result")
            if not ended and line.startswith(b"data: "):
                took += [now - float(at) for at in re.findall(rb"(\d+\.\d{6})\\n", line)]
        assert ended and (len(took) == LINES or not took), len(took)


def _quoted(text: str) -> bytes:
    return b'"' + text.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'


def _piped() -> list[float]:
    with pyjail.start(_ARGS, LIMITS) as program:
        assert program.stdout is not None
        return [time.clock_gettime(time.CLOCK_BOOTTIME) - float(line) for line in program.stdout]


def memory(sizes: Sizes) -> list[Found]:
    """Memory of the service over many runs; also its fds, its processes, and its cgroups."""
    rows: list[tuple[int, float]] = []
    with served() as server:
        looped(by_http(server.port, CLIENTS, calls=min(2000, sizes.runs // 10)))
        before, done = _held(server), 0
        began = time.monotonic()
        for part in range(1, SAMPLES + 1):
            calls = sizes.runs * part // SAMPLES - done
            done += len(looped(by_http(server.port, CLIENTS, calls=calls)))
            rows.append((done, _rss(server.pid)))
        took = time.monotonic() - began
        time.sleep(0.5)  # the next jails of keepers are made
        after = _held(server)
    slope = statistics.linear_regression(*zip(*rows[SAMPLES // 4 :], strict=True)).slope * 100
    what = f"memory of the service over {done} runs in {took:.0f} s"
    said = f"{rows[0][1] / 1024:.1f} MiB, at the end {rows[-1][1] / 1024:.1f} MiB: {slope:+.3f} KiB for 100 runs"
    fixed = ", ".join(f"{name} {a} -> {b}" for (name, a), b in zip(before.items(), after.values(), strict=True))
    grown = all(after[name] <= before[name] + 2 for name in before)  # a keeper more or less
    return [
        Found(what, said, f"< {SLOPE:g} KiB for 100 runs", slope < SLOPE if done >= ENOUGH else None),
        Found("what else it has, before and after", fixed, "no more", grown),
    ]


def _rss(pid: int) -> float:
    """KiB."""
    text = Path(f"/proc/{pid}/statm").read_text()
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def _held(server: Server) -> dict[str, int]:
    return {
        "fds": len(os.listdir(f"/proc/{server.pid}/fd")),
        "processes": len(testing.below(server.pid)),
        "cgroups": len(testing.cgroups(server.pid)),
    }
