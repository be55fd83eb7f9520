"""A signal handler that raises, at every step of a call to a box: the program is gone, the box answers what is asked, and
nothing is left when it is closed."""

from __future__ import annotations

import contextlib
import os

import pytest

from pyjail import Box, KeeperError
from tests.instants import Instant, Interrupted, Unharmed, every
from tests.jail.box.programs import LIMITS, shell
from tests.scripts import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # see `Unharmed`


def talk(box):
    with box.start(["cat"]) as p:
        p.stdin.write(b"x")
        p.stdin.close()
        assert p.stdout.read() == b"x"


CALLS = {
    "run": lambda box: box.run(["echo", "x"], input=b"y"),
    "collect": lambda box: box.run(shell("echo x > c"), collect=["c"]),
    "files": lambda box: box.run(["true"], files={"f": b"x"}),
    "keep": lambda box: box.run(shell("sleep 99 &"), orphans="keep"),
    "start": talk,
    "dropped": lambda box: box.start(["true"]) and None,
    "read": lambda box: box.read("b"),
    "write": lambda box: box.write("d/new", b"x" * 70000),
    "list": lambda box: box.list("d/*"),
    "snapshot": lambda box: box.snapshot(),
    "processes": lambda box: box.processes(),
    "kill": lambda box: box.kill(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_box_that_is_interrupted_goes_on(name):
    """One program at a time is lost, at most. (With two slots idle and one that runs beside.)"""
    call = CALLS[name]
    with Unharmed(), Box(limits=LIMITS) as box:
        box.write("b", b"b")
        for n in every(lambda: call(box), 60):
            with contextlib.suppress(Interrupted), Instant(n):
                call(box)
            assert box.run(["cat", "b"]).stdout == b"b"
            assert box.read("b") == b"b"
            if name != "keep":
                assert until(lambda: box.processes() == []), n
        box.kill()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it is raised to nobody
def test_a_program_that_nobody_has_gives_its_place_back_whenever_that_is_interrupted():
    """It is over by the next run: no fd of it stays, and nothing is in the way of a snapshot that is put back."""
    with Unharmed(), Box(limits=LIMITS) as box:
        taken = box.snapshot()
        for n in every(lambda: box.start(["cat"]) and None, 60):
            with contextlib.suppress(Interrupted), Instant(n):
                box.start(["cat"])
            box.run(["true"])
            box.restore(taken)


@pytest.mark.parametrize("use", ["run", "write", "enter", "close", "start"])
def test_the_first_use_and_the_end_leave_nothing(use):
    def call():
        box = Box(limits=LIMITS)
        if use == "enter":
            with box:
                pass
        elif use == "close":
            box.run(["true"])
            box.close()
        elif use == "start":
            box.start(["cat"])
        elif use == "write":
            box.write("x", "x")
        else:
            box.run(["true"])

    with Unharmed():
        for n in every(call, 40):
            with contextlib.suppress(Interrupted), Instant(n):
                call()


def test_one_whose_start_was_interrupted_may_be_used_again():
    with Unharmed():
        for n in every(lambda: Box(limits=LIMITS).run(["true"]), 40):
            box = Box(limits=LIMITS)
            with contextlib.suppress(Interrupted), Instant(n):
                box.run(["true"])
            assert box.run(["echo", "x"]).stdout == b"x\n"
            box.close()


def test_a_fork_at_any_step_leaves_the_box_with_its_parent():
    """The child may end it as little as use it, and holds nothing of it."""
    with Unharmed(), Box(limits=LIMITS) as box:
        box.write("b", b"b")

        def fork():
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    box.run(["true"])
                except KeeperError:
                    box.close()
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

        for n in every(lambda: box.run(["cat", "b"]), 24):
            with Instant(n, fork):
                assert box.run(["cat", "b"]).stdout == b"b"
            assert box.read("b") == b"b"
