"""Sudden death of embedder, guard and keeper, and the end of our own fds: clear errors, nothing left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pyjail
from pyjail import Verdict
from tests import place
from tests.conftest import SLOW
from tests.host_side import (
    alive,
    cgroups_of,
    keeper_below,
    keepers_of,
    kill_below,
    leaves_of,
    mounts,
    programs,
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


def test_the_end_of_the_thread_that_started_a_keeper_is_not_the_end_of_the_embedder():
    pyjail.close()
    thread = threading.Thread(target=pyjail.run, args=(["true"],))
    thread.start()
    thread.join()
    from pyjail._run import idle

    (keeper,) = idle.keepers
    time.sleep(0.5)
    assert keeper.alive
    assert pyjail.run(["echo", "x"]).stdout == b"x\n"
    assert idle.keepers == [keeper]


def test_sigkill_of_a_keeper_is_a_jail_error_and_the_next_run_is_fine():
    found = []

    def victim():
        found.append(pyjail.run(["sleep", "100"]))

    pyjail.run(["true"])
    t = threading.Thread(target=victim)
    t.start()
    assert until(lambda: any(_cmdline(p).startswith(b"sleep") for p in keepers_of(os.getpid())))
    from pyjail._run import idle

    keeper = next(iter(idle.leased))
    below = keepers_of(keeper.pid)
    os.kill(keeper.pid, signal.SIGKILL)
    t.join(10)
    assert found[0].verdict is Verdict.JAIL_ERROR
    assert "SIGKILL" in found[0].error
    assert until(lambda: not any(map(alive, below)))
    assert pyjail.run(["echo", "x"]).stdout == b"x\n"


def _cmdline(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read()
    except OSError:
        return b""


def test_an_idle_keeper_that_was_killed_is_replaced_silently():
    pyjail.run(["true"])
    from pyjail._run import idle

    for keeper in idle.keepers:
        os.kill(keeper_below(keeper.pid), signal.SIGKILL)
    assert pyjail.run(["echo", "x"]).stdout == b"x\n"


@pytest.mark.parametrize("who", ["keeper", "armed process"])
def test_what_was_killed_while_idle_is_replaced_silently(who):
    pyjail.close()
    pyjail.run(["true"])
    time.sleep(0.2)
    from pyjail._run import idle

    for keeper in idle.keepers:
        below = keeper_below(keeper.pid)
        os.kill(below, signal.SIGKILL) if who == "keeper" else kill_below(below)
    time.sleep(0.2)
    assert pyjail.run(["echo", "x"]).stdout == b"x\n"


def test_a_keeper_killed_before_its_program_started_is_replaced_silently():
    """It still has the mark of the run before in its memfd."""
    pyjail.close()
    pyjail.run(["true"])
    time.sleep(0.2)
    from pyjail._run import idle

    below = keeper_below(idle.keepers[0].pid)
    os.kill(below, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(pyjail.run, ["echo", "x"])
        assert until(lambda: idle.leased)
        time.sleep(0.2)
        os.kill(below, signal.SIGKILL)
        assert run.result(30).stdout == b"x\n"


def test_a_keeper_killed_after_its_program_started_is_an_error_of_the_run(tmp_path):
    """It must not be run a second time."""
    pyjail.run(["true"])
    from pyjail._run import idle

    jail = pyjail.Jail(mounts=(pyjail.Mount.bind(str(tmp_path), "/shared", ro=False),), uid=os.getuid() or 1000)
    tmp_path.chmod(0o777)
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(pyjail.run, ["sh", "-c", "echo x >> /shared/ran; exec sleep 100"], jail=jail)
        assert until(lambda: (tmp_path / "ran").exists() and (tmp_path / "ran").stat().st_size)
        for keeper in list(idle.leased):
            os.kill(keeper_below(keeper.pid), signal.SIGKILL)
        assert run.result(30).verdict is Verdict.JAIL_ERROR
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_stopped_keeper_or_guard_is_ended_all_the_same():
    pyjail.close()
    for stop in (lambda guard: guard, keeper_below):
        pyjail.run(["true"])
        from pyjail._run import idle

        guards = [keeper.pid for keeper in idle.keepers]
        below = [p for guard in guards for p in keepers_of(guard)]
        for guard in guards:
            os.kill(stop(guard), signal.SIGSTOP)
        pyjail.close()
        assert not any(map(alive, guards + below))


def test_a_stopped_keeper_keeps_no_caller_beyond_its_timeout():
    pyjail.run(["true"])
    from pyjail._run import idle

    stopped = threading.Timer(0.3, lambda: [os.kill(keeper_below(k.pid), signal.SIGSTOP) for k in idle.leased])
    stopped.start()
    before = time.monotonic()
    with pytest.raises(pyjail.TimeoutExpired):
        pyjail.run(["sleep", "100"], timeout=1)
    assert time.monotonic() - before < 8  # KILL_PATIENCE_S is 10
    assert pyjail.run(["echo", "x"]).stdout == b"x\n"


def test_close_ends_all_keepers_and_their_cgroups():
    pyjail.run(["true"])
    assert keepers_of(os.getpid())
    pyjail.close()
    from pyjail._run import idle

    assert idle.keepers == []
    assert leaves_of(os.getpid()) == []
    assert pyjail.run(["echo", "x"]).stdout == b"x\n"


def test_own_fd_limit_used_up_is_a_clean_error():
    code = """
    import os, pyjail, resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    held = []
    try:
        while True: held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError: pass
    for i in range(3):
        try: pyjail.run(["true"], pyjail.Limits(open_files=32))
        except OSError as e: print(e.errno)
    for fd in held: os.close(fd)
    print(pyjail.run(["true"], pyjail.Limits(open_files=32)).verdict)
    """
    out = script(code)
    assert out.stdout == "24\n24\n24\nok\n", out.stderr


def test_an_armed_process_lost_with_the_files_that_were_written_is_an_error_not_an_empty_box(monkeypatch):
    from pyjail import _files

    real = _files.write_inputs

    def write_then_lose(keeper, inputs):
        real(keeper, inputs)
        kill_below(keeper_below(keeper.pid))
        time.sleep(0.2)

    monkeypatch.setattr(_files, "write_inputs", write_then_lose)
    with pytest.raises(pyjail.SetupError) as e:
        pyjail.run(["cat", "a"], files={"a": b"x"})
    assert e.value.step == "arm"


def test_when_the_keeper_is_killed_nothing_of_its_jail_lives_on_after_the_report():
    found = []
    t = threading.Thread(target=lambda: found.append(pyjail.run(["sh", "-c", "sleep 100 & sleep 100"])))
    t.start()
    assert until(lambda: any(_cmdline(p).startswith(b"sleep") for p in keepers_of(os.getpid())))
    below = [p for p in keepers_of(os.getpid()) if _cmdline(p).startswith((b"sleep", b"sh"))]
    parents = {int(Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split()[1]) for p in below}
    keeper = next(p for p in parents if p not in below)
    os.kill(keeper, signal.SIGKILL)
    t.join(20)
    assert [p for p in below if _cmdline(p)] == []
    assert found[0].signal == signal.SIGKILL


@pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)  # the instants are those of a real machine
def test_interrupts_at_any_instant_neither_hang_nor_leak():
    code = """
    import os, pyjail, random, signal, time
    os.environ["PYJAIL_SUBORDINATE_IDS"] = "0"  # newuidmap is run by subprocess, which may lose a child when interrupted
    def interrupt(*_): raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, interrupt)
    rng, slowest = random.Random(5), 0
    def fds(): return len(os.listdir("/proc/self/fd"))
    pyjail.run(["true"]); pyjail.close()
    before = fds()
    for i in range(30):
        start = time.monotonic()
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0002, 0.02))
            pyjail.run(["true"], jail=pyjail.Jail(fresh=i % 3 == 0))
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt: pass
        slowest = max(slowest, time.monotonic() - start)
    signal.setitimer(signal.ITIMER_REAL, 0)
    pyjail.close()
    try: left = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError: left = None
    import gc; gc.collect()
    print(slowest < LIMIT, left, fds() - before <= 1)  # socket.socketpair is Python code
    """
    out = script(code.replace("LIMIT", repr(6 * SLOW)), timeout=120)
    assert out.stdout == "True None True\n", (out.stdout, out.stderr)


@pytest.mark.parametrize("strict", [pytest.param(True, marks=pytest.mark.needs_cgroups), False])
@pytest.mark.parametrize("free", [0, 1, 2, 4, 6, 9])
def test_a_lack_of_fds_at_the_first_use_is_an_os_error_and_forgotten(free, strict):
    code = f"""
    import errno, os, pyjail, resource
    pyjail.run, pyjail.Result  # imported
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    held = []
    try:
        while True: held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError: pass
    for _ in range({free}): os.close(held.pop())
    for _ in range(2):
        try: print(pyjail.run(["true"], jail=pyjail.Jail(strict={strict})).verdict)
        except OSError as e: print(errno.errorcode[e.errno])
    for fd in held: os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    r = pyjail.run(["true"], jail=pyjail.Jail(strict={strict}))
    print(r.verdict, sorted(c.name for c in r.receipt.not_enforced))
    """
    needed = script(f"""
    import pyjail
    print(sorted(c.name for c in pyjail.run(["true"], jail=pyjail.Jail(strict={strict})).receipt.not_enforced))
    """)
    out = script(code)
    assert out.stdout == f"EMFILE\nEMFILE\nok {needed.stdout}", (out.stdout, out.stderr)


def test_a_directory_of_more_entries_than_the_callers_soft_limit_of_fds_can_be_rebuilt():
    out = script("""
    import os, pyjail, resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    jail = pyjail.Jail(mounts=(pyjail.Mount.bind(os.path.realpath(os.__file__), "/usr/bin/new"),))
    print(pyjail.run(["sh", "-c", "ls /usr/bin | wc -l; grep -c . /usr/bin/new > /dev/null"], jail=jail).stdout)
    """)
    assert int(eval(out.stdout)) == len(os.listdir("/usr/bin")) + 1 > 150, out.stderr


FREEZER = Path("/sys/fs/cgroup/freezer")


@pytest.mark.needs_root
@pytest.mark.skipif(not FREEZER.is_dir(), reason=place.ELSEWHERE)
@pytest.mark.parametrize("script", ["exec sleep 1000", "echo x > out; sleep 1000 & sleep 1"])
def test_a_process_that_cannot_be_killed_keeps_nobody_waiting(script, tmp_path):
    """Nor can one in a frozen cgroup v1 freezer; as with a file system that hangs."""
    pyjail.close()
    frozen = FREEZER / f"pyjail-test-{os.getpid()}"
    frozen.mkdir()
    found = []
    run = lambda: pyjail.run(["sh", "-c", script], pyjail.Limits(wall_time=4), collect=["out"])  # noqa: E731
    thread = threading.Thread(target=lambda: found.append(run()))
    below: list[int] = []
    try:
        thread.start()
        assert until(lambda: programs(b"sleep\x001000"))
        below = programs(b"sleep\x001000")
        (frozen / "tasks").write_text(str(below[0]))
        (frozen / "freezer.state").write_text("FROZEN")
        thread.join(30 * SLOW)
        assert not thread.is_alive()
        result = found[0]
        assert result.verdict is (Verdict.WALL_TIME if script.startswith("exec") else Verdict.OK)
        assert result.files == ({} if script.startswith("exec") else {"out": b"x\n"})
        assert "could not be killed" in result.error
        before = time.monotonic()
        assert pyjail.run(["echo", "x"]).stdout == b"x\n"
        assert time.monotonic() - before < 5 * SLOW
        assert alive(below[0])
    finally:
        (frozen / "freezer.state").write_text("THAWED")
        assert until(lambda: not any(map(alive, below)))
        frozen.rmdir()
    pyjail.close()
    assert until(lambda: leaves_of(os.getpid()) == [])


def test_close_in_another_thread_is_no_error_of_a_run_that_is_starting():
    code = """
    import collections, pyjail, threading, time
    end, seen = time.monotonic() + 3, collections.Counter()
    def run():
        while time.monotonic() < end:
            try: r = pyjail.run(["echo", "x"], files={"a": b"x"})
            except BaseException as e: seen[repr(e)] += 1
            else: seen[r.stdout if r.ok else r.error] += 1
    def close():
        while time.monotonic() < end:
            pyjail.close()
            time.sleep(0.01)
    threads = [threading.Thread(target=f) for f in (run, run, run, close, close)]
    for t in threads: t.start()
    for t in threads: t.join()
    print(seen.pop(b"x\\n") > 0, set(seen) - {"the keeper died during the run (pyjail.close() ended it); the jail died with it"})
    """
    out = script(code)
    assert out.stdout == "True set()\n", (out.stdout, out.stderr)
    assert out.stderr == ""
