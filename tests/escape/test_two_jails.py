"""Nothing passes between two jails: at once, and one after the other in the same keeper. Each way is tried by two programs,
one that leaves a mark and one that looks for it; the same pair in one jail shows that the way works at all."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import pyjail
from pyjail import Jail, Limits
from tests.conftest import SLOW

LIMITS = Limits(cpu_time=10 * SLOW, wall_time=30 * SLOW)
HEAD = """
import ctypes, errno, fcntl, mmap, os, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
def call(x86, arm, *args):
    n = libc.syscall(ctypes.c_long(x86 if X86 else arm), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    return n if n >= 0 else -ctypes.get_errno()
SHARED = "/usr/bin/env"
KEY = 0x70796A61
def seen(yes): print("SEEN" if yes else "not seen", flush=True)
def done(): print("MARKED", flush=True)
"""
# name: (leaves a mark, looks for it). An exception in either counts as refused.
CHANNELS = {
    "lease": (
        "f = open(SHARED); fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_RDLCK); done()",
        "f = open(SHARED); fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_WRLCK); seen(False)",
    ),
    "inotify": (
        "i = call(253, 26, 0); done()\nfor _ in range(50): open(SHARED).read(); time.sleep(.02)",
        "i = call(294, 26, 0)\nif i < 0: raise OSError(-i, 'inotify')\nw = call(254, 27, i, SHARED.encode(), 0xfff)\ntime.sleep(.5); os.set_blocking(i, False); seen(bool(os.read(i, 4096)))",
    ),
    "dnotify": ("done()", "d = os.open('/usr/bin', os.O_RDONLY); fcntl.fcntl(d, fcntl.F_NOTIFY, 1); seen(True)"),
    "user keyring": (
        "k = call(248, 217, b'user', b'pyjail-mark', b'1', 1, -4)\nif k < 0: raise OSError(-k, 'add_key')\ndone()",
        "k = call(249, 218, b'user', b'pyjail-mark', 0, 0)\nseen(k > 0)",
    ),
    "abstract socket": (
        "s = socket.socket(socket.AF_UNIX); s.bind('\\0pyjail-mark'); s.listen(); done()",
        "s = socket.socket(socket.AF_UNIX); s.settimeout(1)\ntry: s.connect('\\0pyjail-mark'); seen(True)\nexcept ConnectionRefusedError: seen(False)",
    ),
    "path socket": (
        "s = socket.socket(socket.AF_UNIX); s.bind('/tmp/pyjail-mark'); s.listen(); done()",
        "s = socket.socket(socket.AF_UNIX)\ntry: s.connect('/tmp/pyjail-mark'); seen(True)\nexcept (FileNotFoundError, ConnectionRefusedError): seen(False)",
    ),
    "vsock": (
        "s = socket.socket(40, socket.SOCK_STREAM); s.bind((1, 7777)); s.listen(); done()",
        "s = socket.socket(40, socket.SOCK_STREAM); s.settimeout(1); s.connect((1, 7777)); seen(True)",
    ),
    "udp port": (
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 7777)); done()",
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ntry: s.bind(('127.0.0.1', 7777)); seen(False)\nexcept OSError as e: seen(e.errno == errno.EADDRINUSE)",
    ),
    "sysv shared memory": (
        "i = libc.shmget(KEY, 4096, 0o1666)\nif i < 0: raise OSError('shmget')\ndone()",
        "seen(libc.shmget(KEY, 4096, 0o666) >= 0)",
    ),
    "sysv semaphore": ("assert libc.semget(KEY, 1, 0o1666) >= 0; done()", "seen(libc.semget(KEY, 1, 0o666) >= 0)"),
    "sysv queue": ("assert libc.msgget(KEY, 0o1666) >= 0; done()", "seen(libc.msgget(KEY, 0o666) >= 0)"),
    "posix queue": (
        "q = libc.mq_open(b'/pyjail-mark', os.O_CREAT | os.O_RDWR, 0o666, None)\nif q < 0: raise OSError('mq_open')\ndone()",
        "seen(libc.mq_open(b'/pyjail-mark', os.O_RDWR) >= 0)",
    ),
    "posix shared memory": (
        "open('/dev/shm/pyjail-mark', 'w').write('1'); done()",
        "seen(os.path.exists('/dev/shm/pyjail-mark'))",
    ),
    "tmp": ("open('/tmp/pyjail-mark', 'w').write('1'); done()", "seen(os.path.exists('/tmp/pyjail-mark'))"),
    "box": ("open('/box/pyjail-mark', 'w').write('1'); done()", "seen(os.path.exists('/box/pyjail-mark'))"),
    "process list": (
        "os.execv(sys.executable, [sys.executable, '-c', 'print(\"MARKED\", flush=True); import time; time.sleep(3)', 'pyjail-mark'])",
        "seen(any(b'pyjail-mark' in open(f'/proc/{p}/cmdline', 'rb').read() for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()))",
    ),
    "priority of a user's processes": (
        "os.setpriority(os.PRIO_USER, 0, 7); done()",
        "seen(os.getpriority(os.PRIO_USER, 0) == 7)",
    ),
    "pseudo terminal": ("m, s = os.openpty(); done()", "m, s = os.openpty(); seen(os.ttyname(s) != '/dev/pts/0')"),
    "io_uring": (
        "p = ctypes.create_string_buffer(120); r = call(425, 425, 4, p)\nif r < 0: raise OSError(-r, 'io_uring')\ndone()",
        "p = ctypes.create_string_buffer(120); seen(call(425, 425, 4, p) >= 0)",
    ),
    "page cache": (
        "done()",
        "v = ctypes.create_string_buffer(16); f = os.open(SHARED, os.O_RDONLY); seen(call(451, 451, f, b'\\0' * 8 + b'\\xff' * 8, v, 0) == 0)",
    ),
    "hostname": (
        "libc.sethostname(b'pyjail-mark', 11) == 0 or (_ for _ in ()).throw(OSError()); done()",
        "seen(os.uname().nodename == 'pyjail-mark')",
    ),
}
# Ways that are open between processes of one jail, so that a test of two jails means something.
OPEN_WITHIN = {
    "abstract socket", "path socket", "udp port", "sysv shared memory", "sysv semaphore", "sysv queue",
    "posix shared memory", "tmp", "box", "process list",
}  # fmt: skip
LOOPBACK = {"udp port"}


def python(code: str, name: str, **kw) -> str:
    jail = Jail(network="loopback") if name in LOOPBACK else Jail()
    r = pyjail.run([sys.executable, "-I", "-c", HEAD + code], LIMITS, jail=jail, text=True, **kw)
    return (r.stdout or "").strip() or r.stderr.strip().rpartition("\n")[2]


@pytest.mark.parametrize("name", CHANNELS)
def test_two_jails_at_once(name, tmp_path):
    mark, look = CHANNELS[name]
    marked = tmp_path / "marked"
    stays, go = os.pipe()
    with ThreadPoolExecutor(1) as pool, open(marked, "wb") as out:
        first = pool.submit(python, f"{mark}\nsys.stdin.read()", name, stdout=out, stdin=stays)
        end = time.monotonic() + 10 * SLOW
        while b"MARKED" not in marked.read_bytes() and not first.done() and time.monotonic() < end:
            time.sleep(0.01)
        assert python(look, name) != "SEEN"
        os.close(go)
        first.result()
    os.close(stays)


@pytest.mark.parametrize("name", CHANNELS)
def test_one_after_the_other_in_the_same_keeper(name):
    mark, look = CHANNELS[name]
    python(mark, name)
    assert python(look, name) != "SEEN"


@pytest.mark.parametrize("name", sorted(OPEN_WITHIN))
def test_the_same_way_works_within_one_jail(name):
    mark, look = CHANNELS[name]
    both = f"""
import subprocess
p = subprocess.Popen([sys.executable, "-I", "-c", HEAD + {mark!r} + chr(10) + "import time; time.sleep(100)"], stdout=subprocess.PIPE)
assert p.stdout.readline() == b"MARKED" + bytes([10])
{look}
"""
    assert python(f"HEAD = {HEAD!r}\n{both}", name) == "SEEN"


LOCK = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>
int main() {
  int f = open("/usr/bin/env", O_RDONLY);
  struct flock l = {.l_type = LOOK ? F_WRLCK : F_RDLCK};
  int r = LOOK ? fcntl(f, F_GETLK, &l) : fcntl(f, F_SETLK, &l);
  if (!LOOK) { if (r < 0) write(1, "NO LOCK ", 8); write(1, "MARKED", 6); char c; read(0, &c, 1); return 0; }
  write(1, r == 0 && l.l_type != F_UNLCK ? "SEEN" : "-", 4);
  return flock(f, LOCK_SH) == 0; /* the end, under strict */
}
"""


@pytest.mark.parametrize(("seccomp", "seen"), [("default", b"SEEN"), ("strict", b"-\0\0\0")])
def test_a_lock_on_a_shared_file_is_not_felt_under_the_strict_profile(run_c, tmp_path, seccomp, seen):
    """With the default profile it is, and docs/adr/0005 says why."""
    jail = Jail(seccomp=seccomp)
    marked = tmp_path / "marked"
    stays, go = os.pipe()
    flags = ("-static", "-DLOOK=0"), ("-static", "-DLOOK=1")
    with ThreadPoolExecutor(1) as pool, open(marked, "wb") as out:
        first = pool.submit(run_c, LOCK, flags=flags[0], jail=jail, stdin=stays, stdout=out)
        end = time.monotonic() + 10 * SLOW
        while b"MARKED" not in marked.read_bytes() and not first.done() and time.monotonic() < end:
            time.sleep(0.01)
        r = run_c(LOCK, flags=flags[1], jail=jail)
        os.close(go)
        first.result()
    os.close(stays)
    assert r.stdout == seen
    assert marked.read_bytes() == (b"NO LOCK MARKED" if seccomp == "strict" else b"MARKED")
    if seccomp == "strict":
        assert (r.verdict, r.syscall) == (pyjail.Verdict.SECURITY, "flock")


def test_locks_that_programs_need_for_their_own_files_work():
    code = """
import sqlite3
a, b = sqlite3.connect("/box/db"), sqlite3.connect("/box/db", timeout=0)
a.execute("create table t (x)"); a.commit()
a.execute("begin immediate"); a.execute("insert into t values (1)")
try: b.execute("begin immediate"); print("no lock")
except sqlite3.OperationalError as e: print(e)
a.commit()
print(b.execute("select * from t").fetchall())
f = open("/box/l", "w"); fcntl.lockf(f, fcntl.LOCK_EX); fcntl.flock(f, fcntl.LOCK_EX)
"""
    assert python(code, "") == "database is locked\n[(1,)]"


def test_sockets_in_flight_are_not_there_in_the_next_run():
    """Sent over each other they outlive their processes; the kernel collects such cycles some time later."""
    mark = """
for i in range(20):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind("\\0pyjail-mark%d" % i)
    a, b = socket.socketpair()
    for x in a, b: socket.send_fds(x, [b"x"], [a.fileno(), b.fileno(), s.fileno()])
print("MARKED", open("/proc/self/net/unix").read().count("pyjail-mark") > 0)
"""
    look = "seen('pyjail-mark' in open('/proc/self/net/unix').read())"
    for _ in range(10):
        assert python(mark, "in flight") == "MARKED True"
        assert python(look, "in flight") == "not seen"
