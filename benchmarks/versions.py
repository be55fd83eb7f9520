"""``python benchmarks/versions.py N CHECKOUT...``: the import and the first run of several versions, in turns.

Each checkout is a built one with its bytecode (`./dev build`, `python -m compileall -q src/pyjail`). N new interpreters of
each, in an order by chance; printed are the least and the median in ms, by the clock and of this process's CPU.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
from pathlib import Path

CODE = """
import sys, time
sys.path.insert(0, sys.argv[1])
t, c = time.perf_counter(), time.process_time()
import pyjail
t1, c1 = time.perf_counter(), time.process_time()
assert pyjail.run(["true"]).ok and pyjail.__file__.startswith(sys.argv[1])
t2, c2 = time.perf_counter(), time.process_time()
print(t1 - t, t2 - t1, t2 - t, c1 - c, c2 - c1, c2 - c)
"""
FIGURES = ("import", "first run", "both", "CPU: import", "first run", "both")


def measure(number: int, checkouts: list[Path]) -> dict[Path, list[list[float]]]:
    """{checkout: rows of the six figures, in ms}"""
    found: dict[Path, list[list[float]]] = {checkout: [] for checkout in checkouts}
    for _ in range(number):
        for checkout in random.sample(checkouts, len(checkouts)):
            command = [sys.executable, "-c", CODE, str(checkout.resolve() / "src")]
            words = subprocess.run(command, cwd="/", check=True, capture_output=True, text=True).stdout.split()
            found[checkout].append([float(word) * 1e3 for word in words])
    return found


if __name__ == "__main__":
    print(" | ".join(("", *FIGURES)))
    for checkout, rows in measure(int(sys.argv[1]), [Path(path) for path in sys.argv[2:]]).items():
        columns = zip(*rows, strict=True)
        print(checkout, *(f"{min(c):.1f} ({statistics.median(c):.1f})" for c in columns), sep=" | ")
