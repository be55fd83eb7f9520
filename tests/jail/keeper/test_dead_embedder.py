"""The embedder exits or is killed at any moment: nothing is left of its runs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests import place
from tests.conftest import SLOW
from tests.host_side import (
    alive,
    cgroups_of,
    janitors_of,
    keepers_of,
    mounts,
    shm_segments,
)
from tests.instants import some
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


DYING = """
import os, signal, sys
import pyjail
from tests.instants import Instant
with Instant(int(sys.argv[1]), lambda: os.kill(os.getpid(), signal.SIGKILL)) as instant:
    pyjail.run(["true"])
print(instant.steps)
"""


@pytest.mark.timeout(600)
def test_sigkill_of_the_embedder_at_any_step_of_its_first_run_leaves_nothing():
    """From before its first cgroup directory on."""
    dying = [sys.executable, "-c", PRELUDE + DYING]
    steps = int(subprocess.run([*dying, "0"], capture_output=True, check=True).stdout)
    left = {}
    for n in some(steps, 60):
        with subprocess.Popen([*dying, str(n)], stdout=subprocess.PIPE, text=True) as p:
            told = p.communicate()[0]
        if p.returncode == 0:  # not two runs have as many steps: how often one waits is the machine's choice
            assert int(told) < n and n > 0.9 * steps, (n, told)
        else:
            assert p.returncode == -signal.SIGKILL, n
        until(lambda pid=p.pid: not cgroups_of(pid), SLOW)
        left[n] = cgroups_of(p.pid)
    assert not any(left.values()), left


def test_a_forked_child_that_holds_everything_keeps_the_janitor_from_nothing():
    code = """
    import os, pyjail, signal, time
    pyjail.run(["true"])
    pid = os.getpid()
    if not os.fork():  # its copies are closed; it goes on after the parent's end
        print(pid, flush=True)
        time.sleep(3)
        os._exit(0)
    time.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    """
    pid = int(script(code).stdout)
    assert until(lambda: not cgroups_of(pid), SLOW)


def test_a_janitor_that_is_killed_is_replaced_before_the_next_directory_is_made():
    code = """
    import os, pyjail, signal
    from tests.host_side import janitors_of
    pyjail.run(["true"])
    for pid in janitors_of(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    pyjail.close()
    pyjail.run(["true"])
    print(os.getpid(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    pid = int(script(code).stdout)
    assert until(lambda: not cgroups_of(pid), SLOW)


def test_close_ends_the_janitor():
    code = """
    import os, pyjail
    from tests.host_side import cgroups_of, janitors_of, keepers_of
    from tests.scripts import until
    for _ in range(3):
        pyjail.run(["true"])
        # It names itself, and need not have had a CPU yet.
        assert until(lambda: len(janitors_of(os.getpid())) == bool(cgroups_of(os.getpid())))
        pyjail.close()
        assert not keepers_of(os.getpid()) and not janitors_of(os.getpid()) and not cgroups_of(os.getpid())
    print("nothing")
    """
    out = script(code)
    assert out.stdout == "nothing\n", out.stderr


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
time.sleep(600)
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
    from tests.inside import busy_keepers
    for _ in range(2):
        threading.Thread(target=pyjail.run, args=(["sh", "-c", "{script}"],), daemon=True).start()
    while len(busy_keepers()) < 2 or not all(k.started for k in busy_keepers()): time.sleep(0.01)
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


OTHER_NOW = """
    import ctypes, os, pyjail, time
    %s
    pyjail.run(["true"])
    if ctypes.CDLL(None).fork() == 0:  # holds the sockets
        time.sleep(100)
    %s
    print(os.getpid(), flush=True)
    time.sleep(100)
"""
NOBODY = "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)"


@pytest.mark.skipif(os.geteuid() != 0, reason=place.WITHOUT_ROOT)
@pytest.mark.parametrize(
    "before, after", [("", NOBODY), ("ctypes.CDLL(None).unshare(0x20000000)", "")], ids=["ids", "pids"]
)
def test_the_end_of_an_embedder_is_seen_whoever_it_has_become(before, after):
    """It may not signal its guards any more, or be in another pid namespace than they: nobody's SIGHUP comes then."""
    code = PRELUDE + textwrap.dedent(OTHER_NOW % (before, after))
    p = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    below: list[int] = []
    try:
        assert int(p.stdout.readline()) == p.pid
        below = [*keepers_of(p.pid), *janitors_of(p.pid)]
        ours = [pid for pid in below if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"pyjail-keeper")]
        assert len(ours) >= 3  # janitor, guard, keeper
        p.kill()
        p.wait()
        assert until(lambda: not any(map(alive, ours)) and not cgroups_of(p.pid)), (ours, cgroups_of(p.pid))
    finally:
        p.kill()
        p.wait()
        p.stdout.close()
        for pid in filter(alive, below):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(os.geteuid() != 0, reason=place.WITHOUT_ROOT)
@pytest.mark.parametrize("first", ["", "pyjail.run(['true'])"], ids=["janitor", "guard"])
def test_the_first_process_of_a_pid_namespace_keeps_nobody_waiting(first):
    """Pid 1 has ended when all in its namespace are reaped (zap_pid_ns_processes()), and one of them is the embedder's."""
    code = """
    import ctypes, os, pyjail
    libc = ctypes.CDLL(None)
    FIRST
    libc.unshare(0x20000000)  # CLONE_NEWPID, of the children from now on
    assert pyjail.run(["true"], jail=pyjail.Jail(hostname="other")).ok
    if libc.fork() == 0: os._exit(0)  # nobody waits for it
    pyjail.close()
    print("closed", flush=True)
    """
    assert script(code.replace("FIRST", first)).stdout == "closed\n"


@pytest.mark.skipif(not place.CGROUPS, reason=place.WITHOUT_CGROUPS)
def test_the_janitor_removes_nothing_that_is_not_named_as_ours_or_lies_behind_a_symlink(tmp_path):
    """It has rights that its embedder may have given up."""
    code = """
    import os, pyjail, signal
    from tests.host_side import cgroups_of
    from tests.inside import janitor_watches
    pyjail.run(["true"])
    own = cgroups_of(os.getpid())[0]
    beside = os.path.dirname(own)
    others = [f"{beside}/other-{os.getpid()}", f"{beside}/pyjail-other-{os.getpid()}", "%s/pyjail-mine"]
    for path in others: os.mkdir(path)
    os.symlink(beside, "%s/link")
    for path in (others[0], "%s/link/" + os.path.basename(others[1]), others[2], f"{own}/../other-{os.getpid()}"):
        janitor_watches(path)
    print(os.getpid(), *others, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    pid, *others = script(code.replace("%s", str(tmp_path))).stdout.split()
    try:
        assert until(lambda: not cgroups_of(int(pid)))
        assert [path for path in others if not os.path.isdir(path)] == []
    finally:
        for path in others:
            os.rmdir(path)
