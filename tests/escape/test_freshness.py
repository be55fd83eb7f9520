"""A keeper serves run after run, with the next one armed, a tmpfs that nobody touched mounted again and a leaf that is as
good as new used again. No run can tell: not by what is there, not by what is counted, not by numbers given in a row."""

from __future__ import annotations

import itertools
import os
import sys
import time

import pytest

import pyjail
from pyjail import Jail, Limits, Verdict
from tests.conftest import SLOW

LIMITS = Limits(cpu_time=10 * SLOW, wall_time=30 * SLOW)
# All that a run can see of what could be handed down; numbers that the kernel gives to the whole host are left out.
LOOK = """
import os, stat, json, time, ctypes, fcntl
found = {}
found["child"] = os.fork() or os._exit(0)
os.wait()
c = ctypes.CDLL(None)
found["objects"] = [c.shmget(0, 4096, 0o600), c.msgget(0, 0o600), c.semget(0, 1, 0o600)]
try: found["clock of pid 1"] = time.clock_gettime(~1 << 3 | 2)
except OSError as e: found["clock of pid 1"] = e.errno
for d in "/box", "/tmp", "/dev/shm":
    s, v = os.stat(d), os.statvfs(d)
    found[d] = [s.st_mode, s.st_uid, s.st_gid, s.st_nlink, s.st_size, v.f_bfree, v.f_ffree, os.listxattr(d)]
    fd = os.open(d, os.O_RDONLY)
    found[d] += [fcntl.fcntl(fd, 1035, bytes(8)).hex()]  # F_GET_RW_HINT
    found[d] += [bool(os.listdir(d)) or s.st_atime_ns == s.st_mtime_ns == s.st_ctime_ns, sorted(os.listdir(d))]
found["pids"] = [os.getpid(), os.getppid(), os.getsid(0), sorted(int(p) for p in os.listdir("/proc") if p.isdigit())]
found["fds"] = sorted(os.listdir("/proc/self/fd"))
found["ipc"] = sorted(os.listdir("/proc/sysvipc")) if os.path.exists("/proc/sysvipc") else []
found["umask"] = os.umask(0)
found["nice"] = os.nice(0)
found["affinity"] = sorted(os.sched_getaffinity(0))
found["env"] = dict(os.environ)
found["cgroup"] = open("/proc/self/cgroup").read()
found["mounts"] = [" ".join(l.split()[3:6]) for l in open("/proc/self/mountinfo")]
found["unix"] = len(open("/proc/self/net/unix").readlines())
print(json.dumps(found, indent=0))
"""
LEAVE = {
    "nothing": "",
    "files": "for d in '/box', '/tmp', '/dev/shm': open(d + '/left', 'w').write('x' * 100000)",
    "files that are gone": "import os\nfor d in '/box', '/tmp', '/dev/shm': open(d + '/x', 'w').close(); os.unlink(d + '/x')",
    "files without a name": "import os\nfor i in range(7): os.close(os.open('/tmp', os.O_TMPFILE | os.O_RDWR))",
    "times": "import os\nopen('/tmp/x', 'w').close(); os.unlink('/tmp/x'); os.utime('/tmp', (0, 0)); os.utime('/box', (0, 0))",
    "modes": "import os\nos.chmod('/box', 0o700); os.chmod('/box', 0o755); os.chmod('/tmp', 0o777)",
    "attributes": "import os\nos.setxattr('/box', 'user.mark', b'x')",
    "a write hint": "import os, fcntl\nfor d in '/box', '/tmp', '/dev/shm':\n    for c in 1036, 1038:\n        try: fcntl.fcntl(os.open(d, os.O_RDONLY), c, bytes([3, 0, 0, 0, 0, 0, 0, 0]))\n        except OSError: pass",
    "a listing": "import os\nos.listdir('/tmp')",
    "directories": "import os\nos.makedirs('/box/a/b/c/d'); os.mkfifo('/tmp/f'); os.symlink('/etc', '/dev/shm/l')",
    "processes": "import os, time\nfor i in range(20):\n    if not os.fork(): os.setsid(); time.sleep(100)",
    "memory": "import mmap\nm = mmap.mmap(-1, 50 << 20)\nfor i in range(0, 50 << 20, 4096): m[i] = 1",
    "its own numbers": "import os\nos.nice(5); os.umask(0o777); os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); os.setsid() if os.fork() == 0 else os.wait()",
    "ipc": "import ctypes\nc = ctypes.CDLL(None)\nfor k in 1, 2, 3: c.shmget(k, 4096, 0o1666); c.msgget(k, 0o1666); c.semget(k, 1, 0o1666)",
    "numbers": "import os\nfor i in range(300): os.wait() if os.fork() else os._exit(0)",
    "orphans": "import os\nfor i in range(100):\n    if not os.fork():\n        os.fork(); os._exit(0)\n    os.wait()",
    "signals to pid 1": "import os, signal\nfor s in range(1, 65):\n    if s not in (32, 33):\n        try: os.kill(1, s)\n        except PermissionError: pass",
    "a session": "import os, signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN); os.close(0); os.close(1); os.close(2)",
}


def look() -> str:
    r = pyjail.run([sys.executable, "-I", "-c", LOOK], LIMITS, text=True)
    assert r.ok, r.stderr
    out: str = r.stdout
    return out


@pytest.fixture
def pristine():
    """What the first run of a new keeper sees."""
    pyjail.close()
    return look()


@pytest.mark.parametrize("what", LEAVE)
def test_a_run_sees_nothing_of_the_one_before(pristine, what, request):
    times = 3 if request.config.getoption("--all") else 1
    for _ in range(times):
        pyjail.run([sys.executable, "-I", "-c", LEAVE[what]], LIMITS)
        assert look() == pristine
    for _ in range(times):  # armed long ago, tmpfs older than a tick of the clock
        time.sleep(0.02)
        pyjail.run([sys.executable, "-I", "-c", LEAVE[what]], LIMITS)
        time.sleep(0.02)
        assert look() == pristine


def test_how_many_files_a_run_made_is_not_in_the_numbers_of_the_next():
    """Inode numbers start anew with a new tmpfs; one that is used again goes on by one, whatever the run did."""
    code = "import os\nfor i in range({}): os.close(os.open('/tmp', os.O_TMPFILE | os.O_RDWR))"
    number = "import os; print(os.fstat(os.open('/tmp', os.O_TMPFILE | os.O_RDWR)).st_ino)"
    seen = set()
    pyjail.close()  # so that one keeper serves all
    for n in (1, 3, 7, 20):
        time.sleep(0.02)
        pyjail.run([sys.executable, "-I", "-c", code.format(n)], LIMITS)
        seen.add(pyjail.run([sys.executable, "-I", "-c", number], LIMITS).stdout)
    assert len(seen) == 1


def test_files_that_were_asked_for_are_of_one_run(pristine):
    for i in range(5):
        r = pyjail.run(["sh", "-c", "ls; cat a; rm a"], LIMITS, files={"a": str(i)}, text=True)
        assert r.stdout == f"a\n{i}"
        assert look() == pristine


def test_mounts_below_a_workspace_are_made_again(tmp_path):
    (tmp_path / "shown").write_text("shown")
    os.chmod(tmp_path, 0o755)
    jail = Jail(mounts=(pyjail.Mount.bind(tmp_path, "/box/in/here"), pyjail.Mount.tmpfs("/box/own", "1M")))
    for _ in range(4):
        r = pyjail.run(
            ["sh", "-c", "cat in/here/shown; ls own; echo x > own/y; echo z > z; ls"], LIMITS, jail=jail, text=True
        )
        assert r.stdout == "shownin\nown\nz\n", r.stderr


@pytest.mark.needs_cgroups
@pytest.mark.parametrize(
    "before",
    [
        "for _ in range(10 ** 6): pass",
        "import mmap; m = mmap.mmap(-1, 60 << 20)\nfor i in range(0, 60 << 20, 4096): m[i] = 1",
        "import os\nfor i in range(20): os.fork() or os._exit(0)",
        "open('/tmp/x', 'wb').write(b'x' * (30 << 20))",
        "import threading\ndef f():\n    for _ in range(10 ** 7): pass\nfor i in range(4): threading.Thread(target=f).start()",
    ],
)
def test_nothing_of_the_one_before_is_counted(before):
    pyjail.close()
    small = pyjail.run(["true"], LIMITS)
    for _ in range(3):
        pyjail.run([sys.executable, "-I", "-c", before], LIMITS)
        r = pyjail.run(["true"], LIMITS)
        assert r.ok
        assert (r.oom_kills, r.limits_hit) == (0, frozenset())
        assert r.usage.processes_peak == 1
        assert r.usage.memory_peak < small.usage.memory_peak + (1 << 20)
        assert r.usage.cpu_time < small.usage.cpu_time + 0.1 * SLOW
        assert r.usage.cpu_time == pytest.approx(r.usage.user_time + r.usage.system_time)
        assert not r.usage.throttled_time
        if r.usage.pressure:
            assert all(0 <= us < 1e6 * SLOW for us in r.usage.pressure.values())


@pytest.mark.needs_cgroups
def test_what_ended_one_run_does_not_end_the_next():
    enders = {
        Verdict.MEMORY: (["python3", "-c", "x = b'x' * (1 << 30)"], Limits(memory="64M", wall_time=30 * SLOW)),
        Verdict.CPU_TIME: (
            ["sh", "-c", "while :; do :; done"],
            Limits(cpu_time=0.2, memory="64M", wall_time=30 * SLOW),
        ),
        Verdict.OUTPUT: (["yes"], Limits(output="64K", memory="64M", wall_time=30 * SLOW)),
    }
    for verdict, (command, limits) in enders.items():
        for _ in range(2):
            assert pyjail.run(command, limits).verdict is verdict
            assert pyjail.run(["true"], limits).ok


@pytest.mark.needs_cgroups
def test_a_leaf_that_is_as_good_as_new_is_used_again():
    """Or nothing above would be tried."""
    from tests.host_side import leaves_of

    pyjail.close()
    seen = []
    for _ in range(8):
        assert pyjail.run(["true"], LIMITS).ok
        time.sleep(0.05)
        seen.append(frozenset(p for p in leaves_of(os.getpid()) if os.path.basename(p).startswith("r")))
    assert any(a & b for a, b in itertools.pairwise(seen))


def test_a_directory_that_left_through_a_socket_is_none_of_the_next_run():
    """Whoever holds it would see the files of whoever comes next in that tmpfs."""
    import socket

    ours, theirs = socket.socketpair()
    send = "import os, socket\ns = socket.socket(fileno=0)\nsocket.send_fds(s, [b'x'], [os.open('/tmp', os.O_RDONLY)])"
    with ours, theirs:
        for _ in range(3):
            time.sleep(0.02)
            assert pyjail.run([sys.executable, "-I", "-c", send], LIMITS, stdin=theirs).ok
            _, (held,), _, _ = socket.recv_fds(ours, 10, 1)
            assert pyjail.run(["sh", "-c", "echo > /tmp/secret; sleep 0.1"], LIMITS).ok
            assert "secret" not in os.listdir(held)
            os.close(held)


# Of a network namespace: what is there, and counted; and whether somebody has this label, as only a lookup tells.
LOOK_AT_NET = """
import json, socket, struct
found = {}
for name in "dev", "snmp", "snmp6", "netstat", "ip6_flowlabel", "rt6_stats", "igmp", "igmp6", "tcp", "udp", "raw", "netlink":
    try: found[name] = open("/proc/self/net/" + name).read()
    except OSError as e: found[name] = e.errno
found["tcp"], found["netlink"] = found["tcp"].count("\\n"), found["netlink"].count("\\n")
print(json.dumps(found, indent=0))
"""
LABEL = """
import socket, struct
ask = socket.inet_pton(socket.AF_INET6, "::1") + struct.pack("!I", 0x12345) + struct.pack("=BBHHHI", 0, 255, 1, 6, 6, 0)
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s: s.setsockopt(41, 32, ask)
"""
LEAVE_IN_NET = {
    "nothing": "",
    "a packet": "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "what could not be sent": "import socket\nfor family, to in (socket.AF_INET, '8.8.8.8'), (socket.AF_INET6, '2001:db8::1'):\n"
    "    for i in range(7):\n        try: socket.socket(family, socket.SOCK_DGRAM).connect((to, 53))\n        except OSError: pass",
    "ports": "import socket\nkept = [socket.socket() for i in range(50)]\nfor s in kept: s.bind(('127.0.0.1', 0)); s.listen()",
    "a group": "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ntry: s.setsockopt(0, 35, socket.inet_aton('224.0.0.251') + socket.inet_aton('127.0.0.1'))\nexcept OSError: pass",
    "sockets in a circle": "import socket\na, b = socket.socketpair()\nsocket.send_fds(a, [b'x'], [a.fileno(), b.fileno()])\nsocket.send_fds(b, [b'x'], [a.fileno(), b.fileno()])",
    "a label": LABEL,
}  # fmt: skip


@pytest.mark.parametrize("what", LEAVE_IN_NET)
def test_nothing_is_in_a_network_namespace_that_serves_the_next_run(what):
    """What has been left as it was is used again; who could not send has been counted, who has a label keeps it."""
    jail = Jail(network="loopback", seccomp="none" if what == "a label" else "default")

    def run(code: str) -> str:
        r = pyjail.run([sys.executable, "-I", "-c", code], LIMITS, jail=jail, text=True)
        assert r.ok or code != LOOK_AT_NET, r.stderr
        assert r.verdict in (Verdict.OK, Verdict.RUNTIME_ERROR, Verdict.SECURITY)
        out: str = r.stdout
        return out

    pyjail.close()
    before = run(LOOK_AT_NET)
    for _ in range(2):
        run(LEAVE_IN_NET[what])
        assert run(LOOK_AT_NET) == before
