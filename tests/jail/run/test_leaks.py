"""Thousands of mixed runs leave nothing: fds, processes, cgroups, mounts, shm, memory."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import pyjail
from pyjail import Jail, Limits, Verdict
from tests import place
from tests.conftest import SLOW
from tests.host_side import left_over, rss
from tests.scripts import until

TINY = Limits(memory="16M", cpu_time=10 * SLOW, wall_time=60 * SLOW, output=10_000)
KINDS = [
    (["true"], {}, Verdict.OK),
    (["false"], {}, Verdict.RUNTIME_ERROR),
    (["sh", "-c", "kill -9 $$"], {}, Verdict.SIGNALED),
    (["sh", "-c", "sleep 100 & sleep 100 & exit 0"], {}, Verdict.OK),
    (["cat"], {"input": b"x" * 5000}, Verdict.OK),
    (["sh", "-c", "cat a > b"], {"files": {"a": b"1"}, "collect": ["b"]}, Verdict.OK),
    (["head", "-c", "20000", "/dev/zero"], {}, Verdict.OUTPUT),
    (["sh", "-c", "head -c 30000000 /dev/zero > /tmp/x"], {}, Verdict.MEMORY if place.CGROUPS else Verdict.OK),
    (["sleep", "9"], {"limits": Limits(wall_time=0.01 * SLOW)}, Verdict.WALL_TIME),
    (["true"], {"jail": Jail(network="loopback")}, Verdict.OK),
    (["nope"], {}, FileNotFoundError),
]


def one(i: int) -> bool:
    args, kw, expected = KINDS[i % len(KINDS)]
    kw = dict(kw)
    limits = kw.pop("limits", TINY)
    if i % 97 == 0:
        kw["jail"] = Jail(fresh=True)
    try:
        return pyjail.run(args, limits, **kw).verdict is expected
    except FileNotFoundError:
        return expected is FileNotFoundError


@pytest.mark.timeout(600)
def test_mixed_runs_leave_nothing():
    total = int(2_000 / SLOW)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one, range(max(44, int(200 / SLOW)))))
        pyjail.close()
        before = left_over()
        memory = rss()
        results = list(pool.map(one, range(total)))
    assert [i for i, fine in enumerate(results) if not fine] == []
    pyjail.close()
    time.sleep(0.2)
    assert left_over() == before
    assert rss() - memory < 24 << 20


def test_shared_memory_of_dead_runs_is_freed(run_c):
    """nsjail#231: SysV segments outlive the pid namespace until somebody removes them."""
    source = """
    #include <string.h>
    #include <sys/ipc.h>
    #include <sys/shm.h>
    int main() { char *p = shmat(shmget(IPC_PRIVATE, 48 << 20, 0600 | IPC_CREAT), 0, 0); memset(p, 1, 48 << 20); return 0; }
    """

    def available() -> int:
        with open("/proc/meminfo") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("MemAvailable")) * 1024

    def is_freed() -> bool:
        """In a round in which nobody else takes as much."""
        before = available()
        for _ in range(40):
            assert run_c(source, Limits(memory="128M")).ok
        return until(lambda: before - available() < 400 << 20)  # ipc namespaces are freed by a kernel worker

    run_c(source, Limits(memory="128M"))
    assert any(is_freed() for _ in range(4))
