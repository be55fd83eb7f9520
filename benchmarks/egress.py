"""What egress costs, beside the same without it, in turns: `python benchmarks/egress.py [ROUNDS] [MIB] [--only PART] [--json]`.

Part "runs": `pyjail.run(["true"])` with network "none", "loopback", an `Egress` that is not used and one that is asked once (by
bash, which "loopback" asks, too, in vain), in turns, RUNS of each. Part "proxy":

Throughput of MIB each way between this process and a server in another one, over loopback, directly and through the proxy;
to connect and hear one byte; what a run without a connection pays for its socket to be served and its rows to be asked for;
1,000 runs alive at once. Medians; of throughput also the median of the rounds' ratios.
Prints a table, or a document, and whether the goals hold: at least half of the direct throughput, a connection at most 1 ms
longer, at most 0.5 ms a run; one that asks once has both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyjail
from pyjail import Jail
from pyjail._egress.link import Link
from pyjail._spec.egress import Egress

THROUGHPUT_GOAL, CONNECT_GOAL, RUN_GOAL = 0.5, 1.0, 0.5  # times, ms, ms
RUNS = 500
ALIVE = 1000
# A connection's first eight bytes: how many bytes to send, or, negative, to take; 0: one byte.
SERVER = """
import socket, struct, sys
listening = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listening.getsockname()[1], flush=True)
data = bytes(1 << 20)
while True:
    sock, _ = listening.accept()
    with sock:
        head = sock.recv(8, socket.MSG_WAITALL)
        if len(head) < 8:
            continue
        (count,) = struct.unpack("q", head)
        for _ in range(count >> 20):
            sock.sendall(data)
        buffer = bytearray(1 << 20)
        while count < 0 and (got := sock.recv_into(buffer)):
            count += got
        sock.sendall(b"x")
"""


@contextlib.contextmanager
def server() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-I", "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


def connect(proxy: tuple[str, int] | None, port: int) -> socket.socket:
    if proxy is None:
        return socket.create_connection(("127.0.0.1", port))
    sock = socket.create_connection(proxy)
    sock.sendall(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += sock.recv(100)
    assert answer.split()[1] == b"200", answer
    return sock


def one(proxy: tuple[str, int] | None, port: int, count: int) -> float:
    """Seconds for so many bytes to come, or, negative, to go."""
    buffer, begun = bytearray(1 << 20), time.perf_counter()
    with connect(proxy, port) as sock:
        sock.sendall(count.to_bytes(8, "little", signed=True))
        for _ in range(-count >> 20):
            sock.sendall(buffer)
        left = max(count, 0) + 1
        while left:
            left -= sock.recv_into(buffer)
    return time.perf_counter() - begun


def a_run(link: Link, egress: Egress | None) -> dict[str, float]:
    """ms of making the listening socket, and of what the proxy adds to that."""
    begun = time.perf_counter()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        if egress is None:
            return {"run, direct": (time.perf_counter() - begun) * 1e3}
        serving = time.perf_counter()
        number = link.serve(listening.fileno(), egress)
        served = time.perf_counter()
    ending = time.perf_counter()
    link.end(number)
    ended = time.perf_counter()
    parts = {"serve": served - serving, "end": ended - ending, "run, proxy": ended - begun}
    return {name: seconds * 1e3 for name, seconds in parts.items()}


def memory(pid: int) -> int:
    """KiB of the process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10


def alive(link: Link, egress: Egress) -> dict[str, float]:
    before, begun, numbers = memory(link.pid), time.perf_counter(), []
    for _ in range(ALIVE):
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
            numbers.append(link.serve(listening.fileno(), egress))
    link.end(numbers.pop())  # all are served
    took, after = time.perf_counter() - begun, memory(link.pid)
    for number in numbers:
        link.end(number)
    return {"runs": ALIVE, "seconds": round(took, 3), "KiB each": round((after - before) / ALIVE, 2), "KiB": after}


def measured(rounds: int, mib: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """All values in the order in which they were measured, and what is told of many runs."""
    link, times = Link(), defaultdict(list)
    with server() as port, socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        egress = Egress([f"127.0.0.0/8:{port}"], size=1 << 50, idle=600)
        link.serve(listening.fileno(), egress)
        proxy = listening.getsockname()
        for _ in range(rounds):
            for name, through in (("direct", None), ("proxy", proxy)):
                for way, count in (("in", mib << 20), ("out", -(mib << 20))):
                    times[f"{way}, {name}"].append(mib / one(through, port, count))
                times[f"connect, {name}"] += [one(through, port, 0) * 1e3 for _ in range(20)]
            for _ in range(ALIVE // rounds):
                for given in (None, egress):
                    for name, ms in a_run(link, given).items():
                        times[name].append(ms)
        many = alive(link, egress)
    link.close()
    return times, many


ASK = [
    "bash",
    "-c",
    "exec 3<>/dev/tcp/127.0.0.1/3128 && printf 'CONNECT x.test:1 HTTP/1.1\\r\\n\\r\\n' >&3 && read -r -u 3 line; true",
]
KINDS: dict[str, tuple[Any, list[str]]] = {
    "none": ("none", ["true"]),
    "loopback": ("loopback", ["true"]),
    "egress": (Egress(["pypi.org"]), ["true"]),
    "loopback, asked": ("loopback", ASK),
    "egress, asked": (Egress(["pypi.org"]), ASK),
}


def of_runs() -> dict[str, float]:
    """Medians in ms of one run of each kind, in turns: sustained."""
    # Each kind has keepers of its own: what one has used is not another's to make anew.
    jails = {kind: Jail(network=network, hostname=f"kind{n}") for n, (kind, (network, _)) in enumerate(KINDS.items())}
    times: dict[str, list[float]] = defaultdict(list)
    for turn in range(RUNS + 20):
        for kind, (_, command) in KINDS.items():
            begun = time.perf_counter()
            result = pyjail.run(command, jail=jails[kind])
            took = (time.perf_counter() - begun) * 1e3
            assert result.ok, result
            if turn >= 20:
                times[kind].append(took)
            del result
            time.sleep(0.003)  # its keeper makes the next one: that is measured by who comes back at once
    return {kind: statistics.median(values) for kind, values in times.items()}


def shown_runs(found: dict[str, float]) -> bool:
    """The table; whether the goals hold."""
    print("| a run | ms | beside | |\n|---|---|---|---|")
    held = True
    for kind, beside in (("none", ""), ("loopback", "none"), ("egress", "none"), ("egress, asked", "loopback, asked")):
        more = f"+ {found[kind] - found[beside]:.3f} ms | {found[kind] / found[beside]:.2f} x" if beside else " | "
        most = RUN_GOAL + (CONNECT_GOAL if "asked" in kind else 0.0)
        held = held and not (beside and kind.startswith("egress") and found[kind] - found[beside] > most)
        print(f"| {kind} | {found[kind]:.3f} | {more} |")
    return held


def told(times: dict[str, list[float]], many: dict[str, float], mib: int) -> dict[str, Any]:
    found = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        way: statistics.median(
            [by / direct for by, direct in zip(times[f"{way}, proxy"], times[f"{way}, direct"], strict=True)]
        )
        for way in ("in", "out")
    }
    more = {what: found[f"{what}, proxy"] - found[f"{what}, direct"] for what in ("connect", "run")}
    held = min(ratios.values()) >= THROUGHPUT_GOAL and more["connect"] <= CONNECT_GOAL and more["run"] <= RUN_GOAL
    return {"mib": mib, "medians": found, "ratios": ratios, "more": more, "alive": many, "held": held}


def shown(document: dict[str, Any]) -> None:
    found, mib = document["medians"], document["mib"]
    print("| what | directly | by the proxy | |\n|---|---|---|---|")
    for way, ratio in document["ratios"].items():
        direct, by = found[f"{way}, direct"], found[f"{way}, proxy"]
        print(f"| {mib} MiB {way}, MiB/s | {direct:.0f} | {by:.0f} | {ratio:.2f} x |")
    for what, more in document["more"].items():
        print(f"| {what}, ms | {found[f'{what}, direct']:.3f} | {found[f'{what}, proxy']:.3f} | + {more:.3f} |")
    print(f"| of a run, ms | | serve {found['serve']:.3f}, end {found['end']:.3f} | |")
    many = document["alive"]
    print(
        f"\n{many['runs']} runs alive after {many['seconds']} s: {many['KiB each']} KiB each of the proxy's {many['KiB']} KiB"
    )
    print(f"goals: {'hold' if document['held'] else 'missed'}")


def main() -> bool:
    """Whether the goals hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", nargs="?", type=int, default=20)
    parser.add_argument("mib", nargs="?", type=int, default=128)
    parser.add_argument("--only", choices=("proxy", "runs"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    runs = {} if given.only == "proxy" else of_runs()
    if runs and not given.json:
        held = shown_runs(runs)
        print(f"goals of runs: {'hold' if held else 'missed'}\n")
    if given.only == "runs":
        if given.json:
            print(json.dumps({"runs": runs}, indent=1))
        return runs["egress"] - runs["none"] <= RUN_GOAL
    document = {**told(*measured(given.rounds, given.mib), given.mib), "runs": runs}
    if given.json:
        print(json.dumps(document, indent=1))
    else:
        shown(document)
    return bool(document["held"])


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
