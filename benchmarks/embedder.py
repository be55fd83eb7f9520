"""One embedder of the size on the command line, in bytes: `ours 10` or `base 10` on stdin is so many runs, answered with
their seconds as a JSON list. `bigger.py` drives several of them in turns."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pyjail


def main() -> None:
    ballast = bytearray(int(sys.argv[1]))
    ballast[::4096] = b"x" * len(ballast[::4096])
    for line in sys.stdin:
        name, count = line.split()
        found = []
        for _ in range(int(count)):
            time.sleep(0.003)  # so that the next jail is ready, as between the requests of a service
            start = time.perf_counter()
            if name == "ours":
                pyjail.run(["/bin/true"])
            else:
                subprocess.run(["/bin/true"], capture_output=True)
            found.append(time.perf_counter() - start)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
