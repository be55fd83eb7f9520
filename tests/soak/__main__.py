"""`./dev soak`: many mixed runs, many embedders killed; prints what came of it as a table, exits with 1 when anything is left."""

from __future__ import annotations

import argparse
import sys

from tests.soak import kills, runs


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=30_000, help="mixed runs, in two processes")
    parser.add_argument("--kills", type=int, default=1_000, help="embedders killed by SIGKILL")
    options = parser.parse_args()
    wrong: list[str] = []
    print("| what | how many | s | not as expected | left |\n|---|---:|---:|---:|---|")
    for number, found in enumerate(runs.in_processes(options.runs), 1):
        growth = int(found["growth"])  # type: ignore[call-overload]
        wrong += found["wrong"]  # type: ignore[arg-type]
        if any(found["left"]):  # type: ignore[arg-type]
            wrong.append(f"process {number} has left (fds, mounts, processes, leaves): {found['left']}")
        if growth > runs.MOST_GROWTH:
            wrong.append(f"process {number} has grown by {growth >> 20} MiB")
        print(f"| mixed runs, process {number} | {found['runs']} | {found['seconds']:.0f} | {len(found['wrong'])} |"  # type: ignore[arg-type]
              f" {found['left']}; {growth / 2**20:.1f} MiB of memory |", flush=True)  # fmt: skip
    killed = kills.kill(options.kills)
    wrong += killed.left
    for what, count in killed.killed.items():
        print(f"| SIGKILL of the embedder: {what} | {count} | | | |")
    print(f"| all of these | {killed.killed.total()} | {killed.seconds:.0f} | | {len(killed.left)} |")
    print("\n".join(["", *wrong[:50]]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
