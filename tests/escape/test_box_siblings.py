"""Programs of one box against each other, as far as they are kept apart, and against its keeper by what they use up."""

from __future__ import annotations

import contextlib
import sys
import time

import pytest

from pyjail import DEVNULL, Box, Jail, Limits, SeccompPolicy, Verdict
from tests.conftest import SLOW
from tests.scripts import until

PYTHON = [sys.executable, "-I", "-c"]
LIMITS = Limits(cpu_time=60 * SLOW, wall_time=120 * SLOW, processes=64, memory="256M")
pytestmark = [pytest.mark.needs_cgroups]

REACH = """
import os, resource, signal
pid = int(open("/box/pid").read())
def tried(name, call):
    try: print(name, call())
    except OSError: pass
for path in ("mem", "environ", "maps", "auxv", "fd/1", "root/etc/passwd", "syscall", "stack", "io"):
    tried(path, lambda: open(f"/proc/{pid}/{path}", "rb").read(8))
for path in ("mem", "comm", "oom_score_adj", "clear_refs", "coredump_filter", "timerslack_ns"):
    tried("to write " + path, lambda: open(f"/proc/{pid}/{path}", "w").write("0"))
for path in ("exe", "cwd", "fd/1", "ns/pid"):
    tried("link " + path, lambda: os.readlink(f"/proc/{pid}/{path}"))
tried("prlimit", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE))
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(16, pid, 0, 0) == 0: print("ptrace")
if libc.syscall(438, os.pidfd_open(pid), 1, 0) >= 0: print("pidfd_getfd")
"""


def test_a_sibling_s_memory_files_and_limits_are_out_of_reach():
    """Its number, signals, priority and files are not: docs/box.md."""
    victim = (
        "import os, time; open('/box/pid', 'w').write(str(os.getpid())); print('there', flush=True); time.sleep(99)"
    )
    with Box(limits=LIMITS) as box, box.start([*PYTHON, victim], stdin=DEVNULL, stderr=DEVNULL) as p:
        assert p.stdout.readline() == b"there\n"
        r = box.run([*PYTHON, REACH])
        assert (r.verdict, r.stdout) == (Verdict.OK, b""), r
        p.kill()


def test_a_forbidden_call_of_what_was_kept_ends_that_and_is_nobody_else_s_verdict():
    jail = Jail(seccomp=SeccompPolicy(kill=("setsid",)))
    late = "import os, time\nif os.fork(): os._exit(0)\ntime.sleep(0.3)\nos.setsid()\nopen('/box/lived', 'w')\ntime.sleep(99)"
    with Box(jail, LIMITS) as box:
        assert box.run([*PYTHON, late], orphans="keep").verdict is Verdict.OK
        assert box.run(["sleep", str(0.6 * SLOW)]).verdict is Verdict.OK
        assert until(lambda: box.processes() == [])
        assert box.list() == []
        now = "import os\nos.fork()\nos.setsid()"
        with box.start(["sleep", "99"], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL) as other:
            assert box.run([*PYTHON, now]).verdict is Verdict.SECURITY
            assert other.poll() is None
            other.kill()


def test_one_whose_first_thread_has_ended_is_told_all_the_same():
    code = """
import ctypes, os, threading, time
if os.fork() == 0:
    threading.Thread(target=time.sleep, args=(99,)).start()
    ctypes.CDLL(None).pthread_exit(None)
time.sleep(0.3)
"""
    with Box(limits=LIMITS) as box:
        assert box.run([*PYTHON, code], orphans="keep").verdict is Verdict.OK
        assert until(lambda: len(box.processes()) == 1)
        time.sleep(0.2)
        assert [p.kept for p in box.processes()] == [True]
        box.kill()
        assert box.processes() == []


def test_memory_that_tiny_programs_fill_with_files_ends_programs_never_the_box():
    """None of them has much: the kernel finds nobody to blame, and takes what it finds below the box, nothing else."""
    fill = "i=0; while :; do i=$((i+1)); head -c 300000 /dev/zero > /dev/shm/$$.$i; done 2>/dev/null"
    with Box(limits=Limits(memory="48M", cpu_time=60 * SLOW, wall_time=20 * SLOW), disk="512M") as box:
        box.run(["sh", "-c", f"({fill}) & ({fill}) & exit 0"], orphans="keep")
        verdicts = {box.run(["sh", "-c", fill], timeout=60 * SLOW).verdict for _ in range(8)}
        assert verdicts <= {Verdict.MEMORY, Verdict.SIGNALED, Verdict.WALL_TIME, Verdict.CPU_TIME}
        box.kill()
        for name in box.list(root="/dev/shm"):
            box.remove(f"/dev/shm/{name}")
        assert box.run(["echo", "on"]).stdout == b"on\n"


def test_who_is_stopped_before_it_begins_is_ended_by_its_wall_limit():
    stop = """
import os
if os.fork(): os._exit(0)
while os.getppid() != 1: pass
me = os.getpid()
while True:
    for pid in range(2, me + 300):
        if pid != me:
            try: os.kill(pid, 19)
            except OSError: pass
"""
    with Box(limits=LIMITS) as box:
        box.run([*PYTHON, stop], orphans="keep")
        r = box.run(["sleep", "99"], Limits(wall_time=1))
        assert r.verdict is Verdict.WALL_TIME
        box.kill()
        assert box.run(["echo", "on"]).stdout == b"on\n"


TYPES = r"""
import itertools, os, socket
os.makedirs("w"); os.chdir("w"); open("base", "w").write("base")
targets = ["/proc/self/mem", "/proc/1/mem", "/proc/self/root", "/dev/zero", "/dev/ptmx", "/proc/self/fd/0", "..", "/proc/1/environ"]
makers = [os.mkfifo, lambda p: os.symlink(next(target), p), os.mkdir, lambda p: open(p, "w").write("y"),
          lambda p: os.truncate(os.open(p, os.O_CREAT | os.O_WRONLY), 1 << 40), lambda p: socket.socket(socket.AF_UNIX).bind(p),
          lambda p: os.symlink("x", p), lambda p: os.link("base", p)]
target = itertools.cycle(targets)
print("ready", flush=True)
for make in itertools.cycle(makers):
    for path in ("x", "x/f", "line\n\x01"):
        try: make(path)
        except OSError: pass
        os.closerange(3, 20)
    for path in ("x/f", "x", "line\n\x01"):
        for remove in (os.unlink, os.rmdir):
            try: remove(path)
            except OSError: pass
"""
CALLS = {
    "read": lambda box, out: box.read("w/x"),
    "write": lambda box, out: box.write("w/x", "W"),
    "write below": lambda box, out: box.write("w/x/f", "W"),
    "list": lambda box, out: box.list("**", "w"),
    "remove": lambda box, out: box.remove("w/x", recursive=True),
    "copy out": lambda box, out: box.copy_out("w", out / "all"),
    "copy one out": lambda box, out: box.copy_out("w/x", out / "one"),
    "snapshot": lambda box, out: box.snapshot(),
}


@pytest.mark.parametrize("name", CALLS)
def test_fifos_sockets_devices_and_holes_that_come_and_go_hang_no_file_operation(name, tmp_path):
    """Each answers at once, with what is there or an error of Python's own."""
    allowed = OSError, ValueError  # of which SpecError is one: more than read's limit
    with Box(limits=LIMITS, disk="16M") as box, box.start([*PYTHON, TYPES], stdin=DEVNULL, stderr=DEVNULL) as p:
        assert p.stdout.readline() == b"ready\n"
        end, longest, calls = time.monotonic() + 1.0, 0.0, 0
        while time.monotonic() < end:
            began = time.monotonic()
            with contextlib.suppress(*allowed):
                CALLS[name](box, tmp_path)
            longest, calls = max(longest, time.monotonic() - began), calls + 1
        assert p.poll() is None
        p.kill()
    assert calls > 3 and longest < 5 * SLOW
