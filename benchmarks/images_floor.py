"""``python -m benchmarks.images_floor [--place PLACE] [--count TURNS]``: what no unpacking of `benchmarks.images` does without, beside umoci.

Each alone: the files, from layers that are decompressed already; the decompression; the sums of what comes in and out. Give
--place on a tmpfs to see what is the disk's.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import shutil
import statistics
from pathlib import Path

from benchmarks.images import MIB, PLACE, home, layers, make, timed


def floor(place: Path, count: int) -> None:
    """Medians of so many turns of each."""
    layout = place / "img"
    blobs = layers(layout, "app")
    found: dict[str, list[tuple[float, float]]] = {"umoci": [], "files": [], "gunzip": [], "sums": []}
    with home(place) as store:
        plain = [store / f"{number}.tar" for number in range(len(blobs))]
        for blob, tar in zip(blobs, plain, strict=True):
            with gzip.open(blob) as given, tar.open("wb") as taken:
                shutil.copyfileobj(given, taken, MIB)
        untar = "set -e; for layer; do tar -C \"$0\" -xpf \"$layer\" --exclude='*/.wh.*' --exclude='.wh.*'; done"
        for number in range(count):
            for way in random.sample(list(found), 4):
                target = store / f"{way}{number}"
                target.mkdir()
                os.sync()
                command = {
                    "umoci": ["umoci", "unpack", "--image", f"{layout}:app", str(target / "b")],
                    "files": ["sh", "-c", untar, str(target), *map(str, plain)],
                    "gunzip": ["sh", "-c", 'gzip -dc "$@" > /dev/null', "sh", *map(str, blobs)],
                    "sums": ["sha256sum", *map(str, [*blobs, *plain])],
                }
                found[way].append(timed(command[way]))
    by = {way: [statistics.median(t) for t in zip(*rows, strict=True)] for way, rows in found.items()}
    for way, (wall, cpu) in by.items():
        print(
            f"floor, {way}: {wall:.2f} s, CPU {cpu:.2f} s: {wall / by['umoci'][0]:.2f} x of umoci (CPU {cpu / by['umoci'][1]:.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--place", type=Path, default=PLACE, help=f"where the image is made and kept (default {PLACE})")
    parser.add_argument("--count", type=int, default=5, help="turns of each (default 5)")
    options = parser.parse_args()
    options.place.mkdir(parents=True, exist_ok=True)
    make(options.place)
    floor(options.place, options.count)


if __name__ == "__main__":
    main()
