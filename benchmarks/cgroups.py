"""What cgroups cost: the bring-up of a host, once, and the leaf of a run, every time. Medians, as shares of a run.

    python benchmarks/cgroups.py [RUNS]

Works wherever limits can be enforced; in the cgroup v2 guest: python -m tests.vm.guest .venv/bin/python benchmarks/cgroups.py
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time

FRESH = """
import time
import pyjail
from pyjail._cgroups import bring_up as _bring_up; from pyjail._cgroups import tree; from pyjail._host import machine as _host; from pyjail._plan import prepare; from pyjail._plan import prepare; from pyjail._run import run as _run
from pyjail._plan.compile import template
host = _host.host()
t0 = time.perf_counter()
found = _bring_up.bring_up(host)
t1 = time.perf_counter()
chosen = template(pyjail.Jail(), found, False).cgroups
t2 = time.perf_counter()
tree.subtree(chosen)
t3 = time.perf_counter()
assert pyjail.run(["true"]).ok
t4 = time.perf_counter()
print(t1 - t0, t3 - t2, t4 - t3)
"""


def bring_up(times: int) -> list[float]:
    """Seconds, in new processes: finding out what the host gives; making our directories; the first run."""
    rows = []
    for _ in range(times):
        out = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True).stdout
        rows.append([float(x) for x in out.split()])
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def per_run(times: int) -> tuple[float, float, int, int]:
    """Seconds of a run; of the system calls of its leaf alone; how many of those; how many leaves."""
    import pyjail
    from pyjail._cgroups import tree
    from pyjail._plan import prepare

    limits = pyjail.Limits()
    assert pyjail.run(["true"], limits).ok
    found = prepare.compiled(pyjail.Jail(), limits, (), os.getpid())
    template, rows = found.template, found.run
    tops = tree.KeeperCgroup()
    tops.make_home(template.cgroups)
    tops.make_rest(None)
    modes = {"set": os.O_RDWR, "kill": os.O_WRONLY}
    calls = 0

    def leaf() -> float:
        nonlocal calls
        calls = 0
        start = time.perf_counter()
        dirs = []
        for path in tops.paths:
            os.mkdir(f"{path}/r0")
            dirs.append(os.open(f"{path}/r0", os.O_PATH))
            calls += 4  # with close and rmdir
        fds = []
        for row in rows.cgroup:
            calls += 1
            with contextlib.suppress(OSError):
                fd = os.open(row.file, modes.get(row.when, os.O_RDONLY), dir_fd=dirs[row.hierarchy])
                fds.append(fd)
                calls += 2
                if row.when == "set":
                    os.write(fd, (row.value or "").encode())
                    calls += 1
                if row.when != "kill":
                    os.pread(fd, 4096, 0)
        for fd in (*fds, *dirs):
            os.close(fd)
        for path in tops.paths:
            os.rmdir(f"{path}/r0")
        return time.perf_counter() - start

    whole, part = [], []
    for _ in range(times):  # interleaved
        start = time.perf_counter()
        assert pyjail.run(["true"], limits).ok
        whole.append(time.perf_counter() - start)
        part.append(leaf())
    tops.remove()
    return statistics.median(whole), statistics.median(part), calls, len(tops.paths)


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    looked, made, first = bring_up(max(3, times // 20))
    print(f"bring-up: {looked * 1e3:.2f} ms to find out, {made * 1e3:.2f} ms for our directories, once per process")
    print(f"first run after that: {first * 1e3:.2f} ms (with the start of the keeper)")
    run, leaf, calls, leaves = per_run(times)
    print(
        f"a run: {run * 1e3:.3f} ms; the {calls} system calls of its {leaves} leaves: {leaf * 1e3:.3f} ms, {leaf / run:.0%} of it"
    )


if __name__ == "__main__":
    main()
