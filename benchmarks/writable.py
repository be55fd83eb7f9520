"""What a root that can be written to costs a run: ``python -m benchmarks.writable [COUNT] [--json]``.

Pairs of runs of ``true`` in keepers of their own (``fresh``), one with ``writable_root``, one without, in random order,
from one image of a static busybox in a store of its own. Told are medians in ms, those of the quickest tenth, where
others disturb least, and what it takes to look at and to commit what was written.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import pyjail
from pyjail import Jail, images


def tree(where: Path) -> None:
    """A root with a shell and a thousand files."""
    (where / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", where / "bin")
    for name in ("sh", "true"):
        (where / "bin" / name).symlink_to("busybox")
    for i in range(1000):
        (where / "data" / str(i % 50)).mkdir(parents=True, exist_ok=True)
        (where / "data" / str(i % 50) / str(i)).write_text("x" * 1000)


def timed(jail: Jail) -> float:
    """One run, in ms."""
    start = time.perf_counter()
    result = pyjail.run(["true"], jail=jail)
    elapsed = time.perf_counter() - start
    assert result.ok, result
    return elapsed * 1000


def measure(count: int) -> dict[str, float]:
    """Medians in ms."""
    plain, written = Jail(image="base", fresh=True), Jail(image="base", writable_root="16M")
    took: dict[str, list[float]] = {"plain": [], "writable": []}
    kinds = [("plain", plain), ("writable", written)]
    for i in range(count + 20):
        random.shuffle(kinds)
        for name, jail in kinds:
            ms = timed(jail)
            if i >= 20:
                took[name].append(ms)
    found = {name: statistics.median(values) for name, values in took.items()}
    found |= {f"{name}, the quickest tenth": statistics.quantiles(values, n=10)[0] for name, values in took.items()}
    with pyjail.Session(written) as s:
        assert s.run(["sh", "-c", "for i in $(busybox seq 1000); do echo $i >/data/0/n$i; done"]).ok
        for name, call in (
            ("changes of 1,000 files", s.root_changes),
            ("commit of 1,000 files", lambda: s.commit("next")),
        ):
            start = time.perf_counter()
            call()
            found[name] = (time.perf_counter() - start) * 1000
    pairs = zip(took["writable"], took["plain"], strict=True)
    found["difference within a pair"] = statistics.median(one - other for one, other in pairs)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["PYJAIL_HOME"] = f"{home}/home"
        tree(Path(home, "tree"))
        images.load(f"dir:{home}/tree", "base")
        found = measure(asked.count)
        pyjail.close()
    if asked.json:
        print(json.dumps(found))
    else:
        for name, ms in found.items():
            print(f"{name:32} {ms:8.2f} ms")


if __name__ == "__main__":
    main()
