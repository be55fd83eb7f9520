"""Warm keepers and a thousand jails at once, in a process of their own. Prints what it found as JSON; `memory.py` runs it.

python benchmarks/many.py WARM ALIVE SECONDS
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import subprocess
import sys
import time

from machine import pss

import pyjail
from pyjail._keeper.store import Idle
from pyjail._run.turn import Turn
from pyjail._spec import commands

KERNEL = ("Slab", "KernelStack", "PageTables", "Percpu")
SHELL = ["/bin/sh", "-c", "echo x; read y"]


def kernel_memory() -> int:
    with open("/proc/meminfo") as f:
        rows = dict(line.split(":", 1) for line in f)
    return sum(int(rows[name].split()[0]) * 1024 for name in KERNEL if name in rows)


def below(pid: int) -> list[int]:
    """A process and all its descendants."""
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [pid, *(p for child in f.read().split() for p in below(int(child)))]


def warm(count: int) -> dict[str, float]:
    """Bytes for each of so many warm keepers."""
    pyjail.run(["/bin/true"])  # what is loaded once is not a keeper's
    gc.collect()
    own, kernel = pss("self"), kernel_memory()
    with pyjail.Pool(count) as pool:
        time.sleep(0.2)
        gc.collect()
        trees = [below(k.pid) for k in pool._warm.keepers.keepers]
        found = [sum(map(pss, tree)) for tree in trees]
        return {
            "count": count,
            "processes": sum(map(len, trees)) / count,
            "tree": sum(found) / count,
            "python": (pss("self") - own) / count,
            "kernel": (kernel_memory() - kernel) / count,
        }


def alive(count: int, seconds: float) -> dict[str, object]:
    """Seconds from the request to the first byte of each of so many jails, all of which stay."""
    limits = pyjail.Limits(wall_time=None, cpu_time=None)
    stdin, hold = os.pipe()
    said, stdout = os.pipe()
    end = time.monotonic() + seconds
    keepers, starts, usual, plain = Idle(), [], [], []
    jails: list[Turn] = []
    jail = pyjail.Jail(fresh=True)  # so that none makes a next one when it ends: they all end at once
    try:
        for number in range(count + 1):
            if time.monotonic() > end:
                break
            if number in (1, count):  # a warm run, with nobody else alive and with all of them
                pyjail.run(["/bin/true"])
                for _ in range(20):
                    time.sleep(0.003)
                    start = time.perf_counter()
                    pyjail.run(["/bin/true"])
                    middle = time.perf_counter()
                    subprocess.run(["/bin/true"], capture_output=True)
                    usual.append(middle - start)
                    plain.append(time.perf_counter() - middle)
            start = time.perf_counter()
            request = commands.make(SHELL, limits, jail, stdin=stdin, stdout=stdout)
            turn = Turn(request, keepers)
            turn.open()
            turn.begin()
            if turn.outcome is not None or os.read(said, 2) != b"x\n":
                raise RuntimeError("a jail did not start")
            starts.append(time.perf_counter() - start)
            jails.append(turn)
    finally:
        os.close(hold)
        for turn in jails:
            with contextlib.suppress(Exception):
                turn.wait(30)
        keepers.close()
    return {"starts": starts[1:], "warm": usual, "plain": plain}


def main() -> None:
    warm_count, alive_count = int(sys.argv[1]), int(sys.argv[2])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    alive_count = min(alive_count, (hard - 200) // 12)
    try:
        memory: object = warm(warm_count)
    except OSError as e:
        memory = str(e)
    print(json.dumps({"memory": memory, **alive(alive_count, float(sys.argv[3]))}))


if __name__ == "__main__":
    main()
