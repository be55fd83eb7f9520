"""What the HTTP service costs: ``python -m benchmarks.serve [PART]... [--quick]``, or ``./dev bench-serve``.

A real `pyjail serve` on the loopback, beside the same runs in process. What is compared takes alternate turns, each
without a pause; told are the medians of the turns, and of their ratios. Clients keep their connections, and share this
machine's CPUs with the service: what they use is the service's loss (`cpu` tells how much). Parts: latency, throughput,
cpu, overload, stream, cancel, bulk, faces, memory, workers, wrk where that is installed, and go-judge where --go-judge names its
binary.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path

from benchmarks.serve_bulk import bulk
from benchmarks.serve_cancel import cancel
from benchmarks.serve_client import Found, Sizes
from benchmarks.serve_faces import faces
from benchmarks.serve_go_judge import go_judge
from benchmarks.serve_load import memory, overload, stream
from benchmarks.serve_speed import cpu, latency, throughput
from benchmarks.serve_workers import workers
from benchmarks.serve_wrk import wrk

PARTS = {
    "latency": latency, "throughput": throughput, "cpu": cpu, "overload": overload, "stream": stream, "cancel": cancel,
    "bulk": bulk, "faces": faces, "memory": memory,
    "workers": workers, "wrk": wrk, "go-judge": go_judge,
}  # fmt: skip
QUICK = Sizes(seconds=0.5, rounds=1, runs=1000)


def said(found: Found) -> str:
    """As a line."""
    verdict = {True: "PASS", False: "FAIL", None: ""}[found.met]
    goal = f" (goal {found.goal})" if found.goal else ""
    return f"{verdict:4} {found.what}: {found.measured}{goal}"


def main() -> None:
    usual, doc = Sizes(), __doc__ or ""
    parser = argparse.ArgumentParser(prog="./dev bench-serve", description=doc.split("\n\n")[1])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a minute; says little about speed")
    parser.add_argument("--seconds", type=float, help=f"of one turn (default {usual.seconds:g})")
    parser.add_argument("--rounds", type=int, help=f"turns of each (default {usual.rounds})")
    parser.add_argument("--runs", type=int, help=f"of memory (default {usual.runs})")
    parser.add_argument("--go-judge", metavar="PROGRAM", help="its binary; without it that part is left out")
    parser.add_argument("--json", metavar="FILE", help="also write what was found there")
    options = parser.parse_args()
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    given = {
        f.name: getattr(options, f.name) for f in dataclasses.fields(Sizes) if getattr(options, f.name) is not None
    }
    sizes = dataclasses.replace(QUICK if options.quick else usual, **given)
    load = os.getloadavg()[0]
    print(
        f"{len(os.sched_getaffinity(0))} CPUs, load {load:.2f}; {sizes.rounds} turns of {sizes.seconds:g} s", flush=True
    )
    every: dict[str, list[Found]] = {}
    for name in options.parts or [name for name in PARTS if name != "go-judge" or sizes.go_judge]:
        began = time.monotonic()
        every[name] = PARTS[name](sizes)
        for found in every[name]:
            print(said(found))
        print(f"     ({name}: {time.monotonic() - began:.0f} s)", flush=True)
    if options.json:
        rows = {name: [dataclasses.asdict(found) for found in all_of_it] for name, all_of_it in every.items()}
        Path(options.json).write_text(json.dumps(rows))


if __name__ == "__main__":
    sys.exit(main())
