"""Sudden death of keeper and guard, `close`, interrupts, what cannot be killed: clear errors, nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pyjail
from pyjail import Verdict, testing
from tests import place
from tests.conftest import SLOW
from tests.host_side import (
    alive,
    keeper_below,
    keepers_of,
    kill_below,
    leaves_of,
    programs,
)
from tests.inside import idle_keepers
from tests.scripts import script, until


def test_the_end_of_the_thread_that_started_a_keeper_is_not_the_end_of_the_embedder():
    pyjail.close()
    thread = threading.Thread(target=pyjail.run, args=(["true"],))
    thread.start()
    thread.join()
    (keeper,) = idle_keepers()
    time.sleep(0.5)
    assert keeper.alive
    assert pyjail.run(["echo", "x"]).stdout == b"x\n"
    assert idle_keepers() == [keeper]


def test_sigkill_of_a_keeper_is_a_jail_error_and_the_next_run_is_fine():
    found = []

    def victim():
        found.append(pyjail.run(["sleep", "100"]))

    pyjail.run(["true"])
    t = threading.Thread(target=victim)
    t.start()
    assert until(lambda: any(_cmdline(p).startswith(b"sleep") for p in keepers_of(os.getpid())))
    (guard,) = testing.busy()
    below = keepers_of(guard)
    os.kill(guard, signal.SIGKILL)
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
    for guard in testing.idle():
        os.kill(keeper_below(guard), signal.SIGKILL)
    assert pyjail.run(["echo", "x"]).stdout == b"x\n"


@pytest.mark.parametrize("who", ["keeper", "armed process"])
def test_what_was_killed_while_idle_is_replaced_silently(who):
    pyjail.close()
    pyjail.run(["true"])
    time.sleep(0.2)
    for guard in testing.idle():
        below = keeper_below(guard)
        os.kill(below, signal.SIGKILL) if who == "keeper" else kill_below(below)
    time.sleep(0.2)
    assert pyjail.run(["echo", "x"]).stdout == b"x\n"


def test_a_keeper_killed_before_its_program_started_is_replaced_silently():
    """It still has the mark of the run before in its memfd."""
    pyjail.close()
    pyjail.run(["true"])
    time.sleep(0.2)
    below = keeper_below(testing.idle()[0])
    os.kill(below, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(pyjail.run, ["echo", "x"])
        assert until(testing.busy)
        time.sleep(0.2)
        os.kill(below, signal.SIGKILL)
        assert run.result(30).stdout == b"x\n"


def test_a_keeper_killed_after_its_program_started_is_an_error_of_the_run(tmp_path):
    """It must not be run a second time."""
    pyjail.run(["true"])
    jail = pyjail.Jail(mounts=(pyjail.Mount.bind(str(tmp_path), "/shared", ro=False),), uid=os.getuid() or 1000)
    tmp_path.chmod(0o777)
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(pyjail.run, ["sh", "-c", "echo x >> /shared/ran; exec sleep 100"], jail=jail)
        assert until(lambda: (tmp_path / "ran").exists() and (tmp_path / "ran").stat().st_size)
        for guard in testing.busy():
            os.kill(keeper_below(guard), signal.SIGKILL)
        assert run.result(30).verdict is Verdict.JAIL_ERROR
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_stopped_keeper_or_guard_is_ended_all_the_same():
    pyjail.close()
    for stop in (lambda guard: guard, keeper_below):
        pyjail.run(["true"])
        guards = testing.idle()
        below = [p for guard in guards for p in keepers_of(guard)]
        for guard in guards:
            os.kill(stop(guard), signal.SIGSTOP)
        pyjail.close()
        assert not any(map(alive, guards + below))


def test_a_stopped_keeper_keeps_no_caller_beyond_its_timeout():
    pyjail.run(["true"])
    stopped = threading.Timer(0.3, lambda: [os.kill(keeper_below(guard), signal.SIGSTOP) for guard in testing.busy()])
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
    assert testing.idle() == []
    assert leaves_of(os.getpid()) == []
    assert pyjail.run(["echo", "x"]).stdout == b"x\n"


def test_an_armed_process_lost_with_the_files_that_were_written_is_an_error_not_an_empty_box(monkeypatch):
    from pyjail._keeper import files

    real = files.write_inputs

    def write_then_lose(keeper, inputs):
        real(keeper, inputs)
        kill_below(keeper_below(keeper.pid))
        time.sleep(0.2)

    monkeypatch.setattr(files, "write_inputs", write_then_lose)
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
        assert time.monotonic() - before < 20 * SLOW
        assert alive(below[0])
    finally:
        (frozen / "freezer.state").write_text("THAWED")
        assert until(lambda: not any(map(alive, below)))
        frozen.rmdir()
    pyjail.close()
    assert until(lambda: leaves_of(os.getpid()) == [])


def ticks(pid: int) -> int:
    """CPU time that a process has used, in 1/100 s."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return int(user) + int(system)


@pytest.mark.needs_root
@pytest.mark.skipif(not FREEZER.is_dir(), reason=place.ELSEWHERE)
def test_who_waits_for_a_jail_that_cannot_end_is_at_rest():
    """Its embedder is gone, its keeper is killed: its guard looks for that now and then."""
    frozen = FREEZER / f"pyjail-test-{os.getpid()}"
    frozen.mkdir()
    embedder = subprocess.Popen([sys.executable, "-c", "import pyjail; pyjail.run(['sleep', '1001'])"])
    below: list[int] = []
    try:
        assert until(lambda: programs(b"sleep\x001001"))
        below = programs(b"sleep\x001001")
        guards = keepers_of(embedder.pid)
        (frozen / "tasks").write_text(str(below[0]))
        (frozen / "freezer.state").write_text("FROZEN")
        embedder.kill()
        embedder.wait()
        time.sleep(2)
        before = {guard: ticks(guard) for guard in guards if alive(guard)}
        time.sleep(2)
        used = [ticks(guard) - before[guard] for guard in before]
        assert used and max(used) < 10, used
    finally:
        embedder.kill()
        embedder.wait()
        (frozen / "freezer.state").write_text("THAWED")
        assert until(lambda: not any(map(alive, below)))
        frozen.rmdir()


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
