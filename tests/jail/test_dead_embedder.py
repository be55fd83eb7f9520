"""The embedder exits or is killed at any moment: nothing is left of its runs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tests import place
from tests.conftest import SLOW
from tests.host_side import (
    alive,
    cgroups_of,
    keepers_of,
    mounts,
    shm_segments,
)
from tests.scripts import PRELUDE, script, until


def test_exit_in_the_middle_of_runs_leaves_nothing():
    code = """
    import os, pyjail, threading, time, sys
    for i in range(4):
        threading.Thread(target=pyjail.run, args=(["sleep", "100"],), daemon=True).start()
    time.sleep(1)
    print(os.getpid(), flush=True)
    sys.exit(0)
    """
    out = script(code)
    pid = int(out.stdout)
    assert out.returncode == 0, out.stderr
    assert until(lambda: not cgroups_of(pid))


BUSY = """
import os, pyjail, random, sys, threading, time
def loop(i):
    r = random.Random(i)
    while True:
        pyjail.run(["sh", "-c", "sleep 0.0%d & sleep 0.0%d; head -c 100 /dev/zero > f" % (r.randrange(10), r.randrange(5))],
                   pyjail.Limits(memory="32M"), files={"a": b"x"} if i % 2 else None, collect=["f"] if i % 2 else (),
                   jail=pyjail.Jail(fresh=r.random() < 0.2))
for i in range(3): threading.Thread(target=loop, args=(i,), daemon=True).start()
print("go", flush=True)
time.sleep(60)
"""


def test_sigkill_of_the_embedder_at_random_instants_leaves_no_process():
    rng = random.Random(7)
    before, segments = mounts(), shm_segments()
    for _ in range(8):
        p = subprocess.Popen([sys.executable, "-c", PRELUDE + BUSY], stdout=subprocess.PIPE)
        assert p.stdout.readline() == b"go\n"
        time.sleep(0.1 + rng.random() * 0.8)
        below = keepers_of(p.pid)
        p.kill()
        p.wait()
        p.stdout.close()
        assert until(lambda below=below: not any(map(alive, below)), 4.0 + SLOW), [b for b in below if alive(b)]
        left = cgroups_of(p.pid)
        assert all("/r" not in leaf.rpartition("/k")[2] for leaf in left)
    assert mounts() == before
    assert until(lambda: shm_segments() <= segments), shm_segments()  # those of others go by themselves
    script("import pyjail; pyjail.run(['true'])")  # the next start removes the empty directories that are left
    assert cgroups_of(p.pid) == []


@pytest.mark.parametrize("script", ["sleep 60", "sleep 60 & exec sleep 61"])
def test_sigkill_of_the_embedder_leaves_no_cgroup_either(script):
    code = f"""
    import pyjail, threading, time
    for _ in range(2):
        threading.Thread(target=pyjail.run, args=(["sh", "-c", "{script}"],), daemon=True).start()
    while len(pyjail._run.idle.leased) < 2 or not all(k.started for k in pyjail._run.idle.leased): time.sleep(0.01)
    print("go", flush=True)
    time.sleep(60)
    """
    p = subprocess.Popen([sys.executable, "-c", PRELUDE + textwrap.dedent(code)], stdout=subprocess.PIPE)
    assert p.stdout.readline() == b"go\n"
    assert cgroups_of(p.pid) or not place.CGROUPS
    below = keepers_of(p.pid)
    p.kill()
    p.wait()
    p.stdout.close()
    assert until(lambda: not any(map(alive, below)))
    assert until(lambda: cgroups_of(p.pid) == []), cgroups_of(p.pid)


@pytest.mark.parametrize("after", ["time.sleep(100)", "os.execv('/bin/sleep', ['sleep', '100'])"], ids=["fork", "exec"])
def test_sigkill_of_the_embedder_ends_all_while_a_child_of_its_c_code_lives(after):
    """A fork without Python's hooks: that child holds the keeper's socket, which does not hang up."""
    code = f"""
    import ctypes, os, pyjail, time
    p = pyjail.start(["sleep", "100"])
    child = ctypes.CDLL(None).fork()
    if child == 0: {after}
    print(child, flush=True)
    time.sleep(100)
    """
    p = subprocess.Popen([sys.executable, "-c", PRELUDE + textwrap.dedent(code)], stdout=subprocess.PIPE)
    child = int(p.stdout.readline())
    try:
        assert until(lambda: len(keepers_of(p.pid)) >= 4)  # guard, keeper, program
        below = [pid for pid in keepers_of(p.pid) if pid != child]
        p.kill()
        p.wait()
        assert until(lambda: not any(map(alive, below)))
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)
        p.stdout.close()
