"""Latency of a warm pyjail.run against subprocess.run and, if installed, bubblewrap: one interleaved run, medians.

    ./dev bench [--quick]

Prints ratios to `subprocess.run(["/bin/true"], capture_output=True)`, with a small embedder and one of 2 GiB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time

import pyjail

GOAL, FLAT = 2.0, 1.1
BWRAP = [
    "bwrap",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "--unshare-all",
    "--die-with-parent",
    "--new-session",
]


def contenders() -> dict[str, object]:
    found: dict[str, object] = {
        "subprocess.run": lambda: subprocess.run(["/bin/true"], capture_output=True),
        "pyjail.run": lambda: pyjail.run(["/bin/true"]),
        "pyjail.run fresh": lambda: pyjail.run(["/bin/true"], jail=pyjail.Jail(fresh=True)),
    }
    if shutil.which("bwrap"):
        found["bubblewrap"] = lambda: subprocess.run([*BWRAP, "/bin/true"], capture_output=True)
    else:
        print("bubblewrap: not installed, not measured")
    return found


def measure(functions: dict[str, object], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in functions}
    for f in functions.values():
        for _ in range(5):
            f()
    for _ in range(rounds):
        for name, f in functions.items():
            start = time.perf_counter()
            f()
            times[name].append(time.perf_counter() - start)
    return times


def table(title: str, times: dict[str, list[float]]) -> float:
    base = statistics.median(times["subprocess.run"])
    print(f"\n{title}")
    print(f"  {'':18} {'median ms':>10} {'p99 ms':>8} {'ratio':>6}")
    for name, values in times.items():
        p99 = sorted(values)[int(len(values) * 0.99)]
        print(
            f"  {name:18} {statistics.median(values) * 1e3:10.3f} {p99 * 1e3:8.3f} {statistics.median(values) / base:6.2f}"
        )
    return statistics.median(times["pyjail.run"]) / base


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, 256 MiB instead of 2 GiB")
    options = parser.parse_args()
    rounds, ballast_size = (60, 256 << 20) if options.quick else (400, 2 << 30)
    print(f"kernel {os.uname().release}, Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, {rounds} rounds")
    ratio = table("embedder as it is", measure(contenders(), rounds))
    # Small and large in turns, so that what else the machine does meets both.
    only = {k: v for k, v in contenders().items() if k in ("subprocess.run", "pyjail.run")}
    small: dict[str, list[float]] = {name: [] for name in only}
    large: dict[str, list[float]] = {name: [] for name in only}
    for _ in range(5):
        for found, size in ((small, 0), (large, ballast_size)):
            ballast = bytearray(size)
            ballast[::4096] = b"x" * len(ballast[::4096])
            for name, values in measure(only, rounds // 5).items():
                found[name] += values
            del ballast
    table("embedder as it is, again", small)
    table(f"embedder with {ballast_size >> 20} MiB more", large)
    flat = statistics.median(large["pyjail.run"]) / statistics.median(small["pyjail.run"])
    print(f"\npyjail.run / subprocess.run: {ratio:.2f} (goal <= {GOAL}) {'PASS' if ratio <= GOAL else 'FAIL'}")
    print(f"large embedder / small:      {flat:.2f} (goal <= {FLAT}) {'PASS' if flat <= FLAT else 'FAIL'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
