"""`pyjail.testing` tells which keepers are warm or at work, and what is left; a block that leaves something fails."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import pyjail
from pyjail import testing
from tests.host_side import programs
from tests.scripts import until


def test_a_keeper_is_busy_while_its_program_runs_and_idle_after_it():
    pyjail.close()
    assert testing.idle() == testing.busy() == []
    with pyjail.start(["sleep", "600"]) as program:
        (guard,) = testing.busy()
        assert testing.idle() == []
        assert until(lambda: programs(b"sleep\x00600"))
        (sleep,) = programs(b"sleep\x00600")
        assert {guard, sleep} <= set(testing.below())
        assert sleep in testing.below(guard)
        program.kill()
    assert until(lambda: testing.idle() == [guard] or not testing.busy())
    pyjail.close()
    assert testing.idle() == testing.busy() == []
    assert guard not in testing.below()


@pytest.mark.needs_cgroups
def test_cgroups_are_those_of_one_process_and_go_with_close():
    pyjail.run(["true"])
    assert testing.cgroups()
    assert testing.cgroups(os.getppid()) == []
    pyjail.close()
    assert testing.cgroups() == []


def test_a_block_that_leaves_nothing_passes_whatever_has_run_in_it():
    with testing.nothing_left():
        assert pyjail.run(["true"]).ok
        with pyjail.Session() as session, pyjail.Pool(2) as pool:
            assert session.run(["true"]).ok and pool.run(["true"]).ok


def test_what_a_block_raises_is_what_comes_out():
    with pytest.raises(ZeroDivisionError), testing.nothing_left():
        raise ZeroDivisionError


def test_an_fd_a_process_and_a_session_that_are_left_fail():
    with pytest.raises(AssertionError, match="fds"), testing.nothing_left(0.3):
        fd = os.open("/dev/null", os.O_RDONLY)
    os.close(fd)
    with pytest.raises(AssertionError, match="processes"), testing.nothing_left(0.3):
        left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left.communicate(b"\n")
    with pytest.raises(AssertionError, match="cgroups"), testing.nothing_left(0.3):
        session = pyjail.Session()
        session.run(["true"])
    session.close()
    with testing.nothing_left():
        pass
