"""os.fork at every step of a call: jails stay the parent's, and the child holds nothing that keeps them alive."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, KeeperError
from tests.conftest import SLOW
from tests.inside import turn_of
from tests.instants import Instant, Interrupted, Unharmed, every
from tests.scripts import script

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # see `Unharmed`


def sockets() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {name for name in found if name.startswith("socket:")}


class Child:
    """A fork at one step. ``then``: what the child does there; its exit code is 0 when that returns, and in time."""

    def __init__(self, then) -> None:
        self.then, self.pid = then, 0

    def __call__(self) -> None:
        self.pid = os.fork()
        if not self.pid:
            with contextlib.suppress(BaseException):
                signal.alarm(int(20 * SLOW))
                self.then()
                os._exit(0)
            os._exit(1)

    def ended_well(self) -> bool:
        return not self.pid or os.waitpid(self.pid, 0)[1] == 0


def cold() -> bytes:
    pyjail.close()
    return pyjail.run(["echo", "x"]).stdout


def talk() -> bytes:
    begun = os.getpid()
    p = pyjail.start(["echo", "x"])
    if os.getpid() != begun:  # forked where Python swallows what is raised: it would read what is for its parent
        raise Interrupted
    out = p.stdout.read()
    p.wait()
    p.close()
    return out


RUNS = {
    "cold": cold,
    "warm": lambda: pyjail.run(["echo", "x"]).stdout,
    "files": lambda: pyjail.run(["cat", "f"], files={"f": "x\n"}).stdout,
    "fresh": lambda: pyjail.run(["echo", "x"], jail=Jail(fresh=True)).stdout,
    "start": talk,
}


@pytest.mark.parametrize("name", RUNS)
def test_a_child_that_is_forked_at_any_step_holds_no_socket_of_a_keeper(name):
    run = RUNS[name]
    with Unharmed():
        before = sockets()

        def look() -> None:
            assert sockets() <= before

        for n in every(run, 60):
            child = Child(look)
            with Instant(n, child):
                assert run() == b"x\n"
            assert child.ended_well(), n


def go_on(raised: BaseException | None) -> None:
    """Run a jail of the child's own, and end it. Python swallows what a destructor raises, and a call in which one was
    interrupted fails later, or not at all."""
    code = 1
    try:
        assert raised is None or isinstance(raised, (Interrupted, KeeperError)), repr(raised)
        assert pyjail.run(["echo", "child"]).stdout == b"child\n"
        pyjail.close()
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


@pytest.mark.parametrize("name", RUNS)
def test_a_child_that_is_forked_at_any_step_and_goes_on_from_there_ends_nothing_of_the_parents(name):
    """It leaves the call by an exception, and then runs a jail of its own."""
    run, parent = RUNS[name], os.getpid()
    with Unharmed():
        for n in every(run, 30):
            pids = []

            def fork(pids=pids) -> None:
                pids.append(os.fork())
                if not pids[0]:
                    signal.alarm(int(20 * SLOW))
                    raise Interrupted

            raised = None
            try:
                with Instant(n, fork):
                    assert run() == b"x\n"
            except BaseException as e:
                if os.getpid() == parent:
                    raise
                raised = e
            if os.getpid() != parent:
                go_on(raised)
            assert not pids or os.waitpid(pids[0], 0)[1] == 0, n


@pytest.mark.parametrize("call", [lambda s: s.read("a"), lambda s: s.run(["cat", "a"]).stdout], ids=["read", "run"])
def test_a_session_in_a_forked_child_says_whose_it_is_and_is_closed_at_once(call):
    with Unharmed(), pyjail.Session() as s:
        s.write("a", b"a")

        def use() -> None:
            for act in (lambda: s.read("a"), lambda: s.run(["true"]), lambda: s.start(["true"]), lambda: s.clear()):
                with pytest.raises(KeeperError, match="forked from"):
                    act()
            s.close()

        for n in every(lambda: call(s), 40):
            child = Child(use)
            with Instant(n, child):
                assert call(s) == b"a"
            assert child.ended_well(), n


def test_a_process_in_a_forked_child_says_whose_it_is():
    with Unharmed():
        p = pyjail.start(["sleep", "0.3"])

        def use() -> None:
            for act in (p.wait, p.poll):
                with pytest.raises(KeeperError, match="forked from"):
                    act()
            p.kill()
            with p:
                pass

        child = Child(use)
        child()
        assert child.ended_well()
        with p:
            assert p.wait() == 0


def test_a_fork_while_another_thread_ends_a_keeper_holds_nobody_up_in_the_child():
    p = pyjail.start(["sleep", "9"])
    turn = turn_of(p)
    turn.keeper.closing.acquire()  # as a thread does that is just ending it

    def use() -> None:
        turn.keepers.drop(turn.keeper)

    child = Child(use)
    child()
    assert child.ended_well()
    turn.keeper.closing.release()
    p.kill()
    p.wait()
    p.close()


def test_a_jail_does_not_outlive_a_killed_parent_whose_child_was_forked_while_it_started():
    out = script("""
    import os, pyjail, signal, sys, threading, time
    from pyjail._keeper import id_maps as _id_maps
    real, there, forked = _id_maps.write, threading.Event(), threading.Event()
    def slow(*args):
        there.set()
        forked.wait()
        return real(*args)
    _id_maps.write = slow
    t = threading.Thread(target=pyjail.run, args=(["sleep", "100"],))
    t.start()
    there.wait()
    if os.fork() == 0:
        for fd in (0, 1, 2): os.close(fd)
        time.sleep(30)
        os._exit(0)
    forked.set()
    from tests.host_side import programs, keepers_of
    from tests.scripts import until
    assert until(lambda: programs(b"sleep"))
    print(*[p for k in pyjail.testing.busy() for p in keepers_of(k)], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """)
    pids = [int(pid) for pid in out.stdout.split()]
    assert pids, out.stderr
    end = time.monotonic() + 10 * SLOW
    while time.monotonic() < end and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_forks_of_another_thread_during_starts_leave_no_socket_in_any_child():
    before, stop, seen = sockets(), threading.Event(), []

    def look() -> None:
        assert sockets() <= before

    def fork() -> None:
        while not stop.is_set():
            child = Child(look)
            child()
            seen.append(child.ended_well())

    t = threading.Thread(target=fork)
    t.start()
    try:
        for _ in range(15):
            assert cold() == b"x\n"
    finally:
        stop.set()
        t.join()
    assert seen
    assert all(seen)
