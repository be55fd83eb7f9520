"""A box under attack: by one program against the embedder's file operations, the keeper, its siblings' verdicts, the limits
of the whole, and by one box against another."""

from __future__ import annotations

import contextlib
import os
import sys
import time

import pytest

from pyjail import DEVNULL, Box, Jail, Limits, Verdict
from tests.conftest import SLOW
from tests.scripts import until

PYTHON = [sys.executable, "-I", "-c"]
LIMITS = Limits(cpu_time=60 * SLOW, wall_time=120 * SLOW, processes=64, memory="256M")
NOTHING = {"stdin": DEVNULL, "stdout": DEVNULL, "stderr": DEVNULL}
pytestmark = [pytest.mark.needs_cgroups]

SECRET = b"of the host"
# Names change places for ever: a directory with a file, a file, links to the host's paths, to the root, to /proc.
RACE = """
import ctypes, itertools, os, sys
os.makedirs("real/sub"); open("real/f", "w").write("inside"); open("real/sub/f", "w").write("inside")
os.makedirs("swap")
for i, target in enumerate(sys.argv[1:]): os.symlink(target, f"link{i}")
libc = ctypes.CDLL(None)
print("ready", flush=True)
others = [f"link{i}" for i in range(len(sys.argv) - 1)] + ["swap"]
for other in itertools.cycle(others):
    for _ in range(50):
        libc.renameat2(-100, b"real", -100, other.encode(), 2)
        libc.renameat2(-100, b"real", -100, other.encode(), 2)
        try:
            os.rename("real/sub", "real/was"); os.symlink(sys.argv[1], "real/sub"); os.unlink("real/sub"); os.rename("real/was", "real/sub")
            os.rename("real/f", "real/g"); os.symlink(sys.argv[1] + "/f", "real/f"); os.unlink("real/f"); os.rename("real/g", "real/f")
        except OSError:
            os.makedirs("real/sub", exist_ok=True)
            for path in ("real/f", "real/sub/f"):
                try: open(path, "x").write("inside")
                except OSError: pass
"""


def read(box, _):
    for path in ("real/f", "real/sub/f", "link0/f"):
        with contextlib.suppress(OSError):
            assert SECRET not in box.read(path)


OPERATIONS = {
    "read": lambda box, out: read(box, out),
    "write": lambda box, out: box.write("real/sub/f", "written"),
    "write below": lambda box, out: box.write("real/sub/new/deep", "written"),
    "list": lambda box, out: box.list("**", "real"),
    "remove": lambda box, out: box.remove("real/sub/f"),
    "remove all": lambda box, out: box.remove("real/sub", recursive=True),
    "copy in": lambda box, out: box.copy_in(out / "tree", "real/sub/tree"),
    "copy out": lambda box, out: box.copy_out("real", out / "out"),
    "snapshot": lambda box, out: box.snapshot(),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_program_that_renames_all_the_while_leads_no_file_operation_out_of_its_jail(name, tmp_path):
    """What is on the host stays as it is, and is not seen, whichever way a name leads at which instant."""
    host, out = tmp_path / "host", tmp_path / "out"
    for path in (host / "f", host / "sub" / "f", out / "tree" / "f"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SECRET if path.is_relative_to(host) else b"copied")
    call, done = OPERATIONS[name], 0
    with Box(limits=LIMITS, disk="16M") as box, box.start(
        [*PYTHON, RACE, str(host), "/", "/proc/self/root", "/proc/1/root", f"..{host}"], stdin=DEVNULL, stderr=DEVNULL
    ) as p:  # fmt: skip
        assert p.stdout.readline() == b"ready\n"
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                call(box, out)
                done += 1
        snapshot = box.snapshot()
        p.kill()
        p.wait()
    assert done or name in ("remove", "remove all", "write", "write below", "copy in")
    assert not any(SECRET in data for path, (_, data) in snapshot.files.items() if path.startswith("/box/"))
    assert sorted(str(q.relative_to(host)) for q in host.rglob("*")) == ["f", "sub", "sub/f"]
    assert (host / "f").read_bytes() == (host / "sub" / "f").read_bytes() == SECRET
    for top, _, names in os.walk(out):  # which follows no link
        for each in names:
            path = os.path.join(top, each)
            if not os.path.islink(path):
                with open(path, "rb") as f:
                    assert SECRET not in f.read()


def test_copies_out_of_a_tree_that_changes_stay_where_they_are_put(tmp_path):
    """An earlier copy's links are in the way of the next ones."""
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.mkdir()
    code = f"""
import os, itertools
os.makedirs("t")
print("ready", flush=True)
for i in itertools.count():
    os.symlink({str(victim)!r}, "t/d"); os.symlink({str(victim / "f")!r}, "t/f")
    os.unlink("t/d"); os.unlink("t/f"); os.mkdir("t/d")
    open("t/d/planted", "w").write("bad"); open("t/f", "w").write("bad")
    os.unlink("t/d/planted"); os.rmdir("t/d"); os.unlink("t/f")
"""
    with Box(limits=LIMITS) as box, box.start([*PYTHON, code], stdin=DEVNULL, stderr=DEVNULL) as p:
        p.stdout.readline()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                box.copy_out("t", out)
        p.kill()
    assert list(victim.iterdir()) == []


KEEPER = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def tried(call):
    try: return call()
    except OSError as e: return e.errno
print("kill", tried(lambda: os.kill(1, signal.SIGKILL)), tried(lambda: os.kill(1, signal.SIGSTOP)))
print("memory", tried(lambda: open("/proc/1/mem", "rb").read(1)), tried(lambda: os.listdir("/proc/1/fd")),
      tried(lambda: os.readlink("/proc/1/root")), tried(lambda: open("/proc/1/environ").read()))
print("ptrace", libc.ptrace(16, 1, 0, 0))
try: os.kill(-1, signal.SIGKILL)
except OSError: pass
"""


def test_the_keeper_is_out_of_reach_and_kill_of_all_takes_programs_alone():
    with Box(limits=LIMITS) as box:
        with box.start(["sleep", "99"], **NOTHING) as sibling:
            assert until(lambda: [q.args for q in box.processes()] == [("sleep", "99")])
            r = box.run([*PYTHON, KEEPER])
            sibling.wait(20 * SLOW)
        assert sibling.result.verdict is Verdict.SIGNALED and sibling.result.signal == 9
        lines = r.stdout.decode().splitlines()
        # (A signal from inside to pid 1 is thrown away by the kernel where its sender may send it at all.)
        assert (
            lines[0] in ("kill None None", "kill 1 1") and lines[1] == "memory 13 13 13 13" and lines[2] == "ptrace -1"
        )
        assert box.run(["echo", "on"]).stdout == b"on\n"


def test_no_program_tells_the_verdict_of_another():
    """It may end it, and that is what is told."""
    with Box(limits=LIMITS) as box:
        with box.start([*PYTHON, "import time; time.sleep(99)"], **NOTHING) as sibling:
            assert until(lambda: any("time.sleep" in str(q.args) for q in box.processes()))
            (found,) = box.processes()
            code = f"""
import os
for sig in (0, 15):
    os.kill({found.pid}, sig)
for path in ("status", "mem", "fd/1", "oom_score_adj"):
    try: open("/proc/{found.pid}/" + path, "w").write("0")
    except OSError: pass
"""
            assert box.run([*PYTHON, code]).verdict is Verdict.OK
            sibling.wait(20 * SLOW)
        assert (sibling.result.verdict, sibling.result.signal) == (Verdict.SIGNALED, 15)


def test_files_that_fill_the_memory_of_the_box_end_programs_never_the_box():
    """The kernel takes what it finds in the box: programs, the armed ones too, and nothing outside of it."""
    fill = "head -c 200M /dev/zero > /dev/shm/big; head -c 200M /dev/zero > /tmp/big; sleep 1"
    with Box(limits=Limits(memory="48M", cpu_time=60 * SLOW, wall_time=120 * SLOW), disk="512M") as box:
        box.run(["true"])
        for _ in range(3):
            r = box.run(["sh", "-c", fill])
            assert r.verdict in (Verdict.MEMORY, Verdict.SIGNALED, Verdict.RUNTIME_ERROR, Verdict.OK), (r, r.error)
        for path in ("/dev/shm/big", "/tmp/big"):
            with contextlib.suppress(FileNotFoundError):
                box.remove(path)
        assert box.run(["echo", "on"]).stdout == b"on\n"


def test_what_is_kept_cannot_hide():
    """However it forks, names itself or leaves sessions: it is told, and ends."""
    code = """
import ctypes, os, time
libc = ctypes.CDLL(None)
for i in range(6):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            libc.prctl(15, b"pyjail-keeper", 0, 0, 0)
            os.closerange(0, 100)
            for s in range(1, 65):
                try: __import__("signal").signal(s, 1)
                except (OSError, ValueError): pass
            time.sleep(600)
        os._exit(0)
"""
    with Box(limits=LIMITS) as box:
        box.run([*PYTHON, code], orphans="keep")
        assert until(lambda: len(box.processes()) == 6)
        box.kill()
        assert box.processes() == []


MARK = {
    "file": "open('/tmp/mark', 'w').write('x'); open('/dev/shm/mark', 'w').write('x')",
    "socket": "import socket; s = socket.socket(socket.AF_UNIX); s.bind('\\0mark'); s.listen()",
    "port": "import socket; s = socket.create_server(('127.0.0.1', 7777))",
}
LOOK = {
    "file": "import os; print(os.path.exists('/tmp/mark') or os.path.exists('/dev/shm/mark'))",
    "socket": "import socket; s = socket.socket(socket.AF_UNIX); print(s.connect_ex('\\0mark') == 0)",
    "port": "import socket; s = socket.socket(); print(s.connect_ex(('127.0.0.1', 7777)) == 0)",
}


@pytest.mark.parametrize("name", MARK)
def test_one_box_does_not_see_another_and_what_is_in_one_does(name):
    jail = Jail(network="loopback")
    with Box(jail, LIMITS) as one, Box(jail, LIMITS) as other:
        with one.start([*PYTHON, f"{MARK[name]}\nimport time; print('there', flush=True); time.sleep(99)"]) as p:
            assert p.stdout.readline() == b"there\n"
            assert one.run([*PYTHON, LOOK[name]]).stdout == b"True\n"
            assert other.run([*PYTHON, LOOK[name]]).stdout == b"False\n"
            pid = one.processes()[0].pid
            assert other.run(["kill", "-0", str(pid)]).exit_code != 0 or not other.processes()
            p.kill()
