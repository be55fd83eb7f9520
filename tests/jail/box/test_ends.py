"""The end of a box, whatever brings it: nothing is left, and whoever asks is told why."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time

import pytest

import pyjail
from pyjail import Box, KeeperError, Verdict
from tests.conftest import SLOW
from tests.host_side import alive, cgroups_of, fds, keeper_below, keepers_of, leaves_of
from tests.inside import keeper_of
from tests.jail.box.programs import LIMITS, shell
from tests.scripts import script, until


def busy(box):
    """Programs of every kind in it."""
    p = box.start(["cat"])
    box.run(shell("trap '' TERM; sleep 99 & setsid sleep 99 &"), orphans="keep")
    return p


def gone(pids):
    return until(lambda: not any(map(alive, pids)), 1)


def test_close_leaves_nothing_within_a_second():
    before = fds()
    box = Box(limits=LIMITS)
    p = busy(box)
    pids = keepers_of(os.getpid())
    assert len(pids) >= 5
    began = time.monotonic()
    box.close()
    assert gone(pids) and time.monotonic() - began < SLOW
    assert leaves_of(os.getpid()) == [] or not any("/box" in path for path in leaves_of(os.getpid()))
    with pytest.raises((KeeperError, AssertionError)):
        p.wait()
        assert p.result.verdict is not Verdict.JAIL_ERROR
    p.close()
    del p
    gc.collect()
    assert fds() <= before + 2  # the janitor's


def test_a_box_that_nobody_has_is_ended():
    box = Box(limits=LIMITS)
    box.run(shell("sleep 99 &"), orphans="keep")
    pids = keepers_of(os.getpid())
    del box
    gc.collect()
    assert gone(pids)


def test_a_process_keeps_its_box():
    p = Box(limits=LIMITS).start(["cat"])
    gc.collect()
    assert p.communicate(b"x") == (b"x", b"")


def test_pyjail_close_ends_boxes_too():
    box = Box(limits=LIMITS)
    box.run(["true"])
    pyjail.close()
    with pytest.raises(KeeperError, match="closed"):
        box.run(["true"])


@pytest.mark.parametrize("who", ["guard", "keeper"])
def test_a_keeper_that_is_killed_is_told_of(who):
    box = Box(limits=LIMITS)
    p = box.start(["cat"])
    assert len(box.processes()) == 1
    guard = keeper_of(box).pid
    os.kill(guard if who == "guard" else keeper_below(guard), signal.SIGKILL)
    p.wait(10 * SLOW)
    assert p.result.verdict is Verdict.JAIL_ERROR
    p.close()
    for call in (lambda: box.run(["true"]), lambda: box.read("x"), lambda: box.start(["true"]), box.snapshot):
        with pytest.raises(KeeperError, match="make a new one"):
            call()


def test_a_keeper_that_died_between_two_runs_is_an_error_not_an_empty_box():
    box = Box(limits=LIMITS)
    box.write("x", "x")
    box.run(["true"])
    os.kill(keeper_below(keeper_of(box).pid), signal.SIGKILL)
    with pytest.raises(KeeperError, match="make a new one"):
        box.run(["cat", "x"])


def test_closed_by_another_thread_while_programs_run():
    box = Box(limits=LIMITS)
    found = []

    def run():
        try:
            found.append(box.run(["sleep", "99"]).verdict)
        except KeeperError:
            found.append("closed")

    threads = [threading.Thread(target=run) for _ in range(4)]
    for t in threads:
        t.start()
    assert until(lambda: len(box.processes()) == 4)
    box.close()
    for t in threads:
        t.join(10 * SLOW)
    assert len(found) == 4 and set(found) <= {"jail_error", "closed"}


def test_a_box_that_is_not_used_closes_itself():
    box = Box(limits=LIMITS, idle_timeout=1.0 * SLOW)
    box.run(shell("sleep 99 &"), orphans="keep")
    pids = keepers_of(os.getpid())
    with box.start(["sleep", str(2 * SLOW)]) as p:
        p.wait()
    assert box.read("/etc/passwd")
    assert until(lambda: not any(map(alive, pids)), 5)
    with pytest.raises(KeeperError, match="idle_timeout"):
        box.run(["true"])


def test_the_end_of_the_embedder_is_that_of_the_box():
    code = """
        import os, sys, time, pyjail
        box = pyjail.Box(limits=pyjail.Limits(cpu_time=20))
        box.run(["sh", "-c", "trap '' TERM; sleep 98 &"], orphans="keep")
        p = box.start(["sleep", "97"])
        print(*(q.host_pid for q in box.processes()), flush=True)
        END
    """
    for end in ("os.kill(os.getpid(), 9)", "os._exit(0)", "sys.exit(0)", "raise ValueError"):
        done = script(code.replace("END", end))
        pids = [int(word) for word in done.stdout.split()]
        assert len(pids) == 2, done.stderr
        assert gone(pids), end


def test_in_a_forked_child_a_box_is_the_parent_s():
    box = Box(limits=LIMITS)
    box.write("x", "x")
    p = box.start(["cat"])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            box.run(["true"])
        except KeeperError as e:
            if "forked" in str(e):
                box.close()
                p.close()
                other = Box(limits=LIMITS)
                code = 0 if other.run(["true"]).ok else 2
                other.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert p.communicate(b"y") == (b"y", b"")
    assert box.read("x") == b"x"
    box.close()
    assert not [path for path in cgroups_of(child) if os.path.exists(path)]


def test_an_interrupted_run_is_killed_and_the_box_goes_on():
    """A signal handler that raises while a program runs, in the main thread."""

    class Interrupt(Exception):
        pass

    def interrupt(*_):
        raise Interrupt

    box = Box(limits=LIMITS)
    other = box.start(["cat"])
    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in (0.001, 0.003, 0.01, 0.1, 0.3):
            with pytest.raises(Interrupt):
                signal.setitimer(signal.ITIMER_REAL, delay)
                while True:
                    box.run(["sleep", "99"])
            assert until(lambda: [q.args for q in box.processes()] == [("cat",)])
            assert box.run(["echo", "x"]).stdout == b"x\n"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert other.communicate(b"z") == (b"z", b"")
    box.close()


def test_a_process_that_nobody_has_is_killed_and_the_box_goes_on():
    with Box(limits=LIMITS) as box:
        p = box.start(shell("sleep 99 & sleep 99"))
        assert until(lambda: len(box.processes()) >= 2)
        p.close()
        del p
        gc.collect()
        assert until(lambda: box.processes() == [])
        assert box.run(["true"]).ok
