"""The end of a session: its keeper dies, or it is closed."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time

import pytest

from pyjail import JailError, KeeperError, Session, Verdict
from tests.conftest import SLOW
from tests.faulty import fault
from tests.host_side import alive, keeper_below, keepers_of
from tests.inside import keeper_of
from tests.jail.session.programs import LIMITS


def test_a_keeper_that_died_takes_the_session_with_it(s):
    s.write("x", "x")
    with s.start(["sleep", "100"]) as p:
        time.sleep(0.2)
        os.kill(keeper_of(s).pid, signal.SIGKILL)
        p.wait()
    assert p.result.verdict is Verdict.JAIL_ERROR
    for call in (lambda: s.run(["true"]), lambda: s.read("x"), lambda: s.write("y", "y"), s.snapshot, s.list):
        with pytest.raises(KeeperError, match="new session"):
            call()


def test_a_keeper_that_died_between_two_runs_is_an_error_not_an_empty_box(s):
    s.write("x", "x")
    os.kill(keeper_below(keeper_of(s).pid), signal.SIGKILL)
    with pytest.raises(KeeperError, match="new session"):
        s.run(["cat", "x"])


def test_close_ends_everything():
    s = Session(limits=LIMITS)
    p = s.start(["sleep", "100"])
    time.sleep(0.2)
    mine = {keeper_of(s).pid, *keepers_of(keeper_of(s).pid)}
    assert len(mine) == 3  # guard, keeper, program
    s.close()
    s.close()
    end = time.monotonic() + 10 * SLOW
    while any(map(alive, mine)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, mine))
    p.close()
    with pytest.raises(KeeperError, match="closed"):
        s.run(["true"])


def test_after_any_call_that_failed_a_session_answers_what_is_asked_or_says_that_it_is_lost():
    """No answer is left over for who asks next."""
    for n in itertools.count(1):
        with fault(0, n) as made, Session(limits=LIMITS) as s:
            s.write("a", "A")
            s.write("b", "B")
            made.at = len(made.calls) + n
            with contextlib.suppress(OSError, JailError):
                assert s.read("a") == b"A"
            if made.hit is None:
                break
            for name in ("b", "a"):
                try:
                    assert s.read(name) == name.upper().encode()
                except KeeperError as e:
                    assert "new session" in str(e)
    assert n > 3
