"""What the egress proxy costs, beside the same without it, in turns: `python benchmarks/egress.py [ROUNDS] [MIB]`.

Throughput of MIB each way between this process and a server in another one, over loopback, directly and through the proxy;
to connect and hear one byte; what a run pays for its socket to be served and its rows to be asked for; 1,000 runs alive.
Prints a table and whether the goals hold: at least half of the direct throughput, a connection at most 1 ms longer, at most
0.5 ms a run.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pyjail._egress.link import Link
from pyjail._spec.egress import Egress

THROUGHPUT_GOAL, CONNECT_GOAL, RUN_GOAL = 0.5, 1.0, 0.5  # times, ms, ms
RUNS = 1000
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


def a_run(link: Link, egress: Egress | None) -> float:
    """ms of making the listening socket, and what the proxy adds to that."""
    begun = time.perf_counter()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        if egress is not None:
            number = link.serve(listening.fileno(), egress)
    if egress is not None:
        link.end(number)
    return (time.perf_counter() - begun) * 1e3


def memory(pid: int) -> int:
    """KiB of the process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10


def alive(link: Link, egress: Egress) -> str:
    before, begun, numbers = memory(link.pid), time.perf_counter(), []
    for _ in range(RUNS):
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
            numbers.append(link.serve(listening.fileno(), egress))
    link.end(numbers.pop())  # all are served
    took, after = time.perf_counter() - begun, memory(link.pid)
    for number in numbers:
        link.end(number)
    return f"{RUNS} runs alive after {took:.2f} s: {(after - before) / RUNS:.1f} KiB each of the proxy's {after} KiB"


def main(rounds: int, mib: int) -> bool:
    """Whether the goals hold."""
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
            for name, given in (("direct", None), ("proxy", egress)):
                times[f"run, {name}"] += [a_run(link, given) for _ in range(20)]
        said = alive(link, egress)
    link.close()
    found = {name: statistics.median(values) for name, values in times.items()}
    print("| what | directly | by the proxy | |\n|---|---|---|---|")
    for way in ("in", "out"):
        direct, by = found[f"{way}, direct"], found[f"{way}, proxy"]
        print(f"| {mib} MiB {way}, MiB/s | {direct:.0f} | {by:.0f} | {by / direct:.2f} x |")
    for what in ("connect", "run"):
        direct, by = found[f"{what}, direct"], found[f"{what}, proxy"]
        print(f"| {what}, ms | {direct:.3f} | {by:.3f} | + {by - direct:.3f} |")
    print(f"\n{said}")
    held = all(found[f"{way}, proxy"] >= THROUGHPUT_GOAL * found[f"{way}, direct"] for way in ("in", "out"))
    held &= found["connect, proxy"] - found["connect, direct"] <= CONNECT_GOAL
    held &= found["run, proxy"] - found["run, direct"] <= RUN_GOAL
    print(f"goals: {'hold' if held else 'missed'}")
    return held


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(0 if main(*(given + [20, 128][len(given) :])) else 1)
