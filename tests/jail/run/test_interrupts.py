"""A signal handler that raises, at every step of a call: the right bytes or an error at once, and nothing is left."""

from __future__ import annotations

import contextlib
import signal

import pytest

import pyjail
from pyjail import KeeperError
from tests.conftest import SLOW
from tests.instants import Instant, Interrupted, Unharmed, every

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # see `Unharmed`

CALLS = {
    "read": lambda s: s.read("a"),
    "list": lambda s: s.list("d/*"),
    "write": lambda s: s.write("d/new", b"x"),
    "remove": lambda s: s.remove("new") if "new" in s.list("*") else None,
    "snapshot": lambda s: s.snapshot(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_file_request_of_a_session_that_is_interrupted_leaves_no_answer_to_the_next_one(name):
    call = CALLS[name]
    with Unharmed(), pyjail.Session() as s:
        for path, data in (("a", b"a" * 70000), ("b", b"b"), ("d/e", b"e")):
            s.write(path, data)
        for n in every(lambda: call(s), 100):
            with contextlib.suppress(Interrupted, FileExistsError), Instant(n):
                call(s)
            assert s.read("b") == b"b"
            assert s.list("d/e") == ["d/e"]
        assert s.run(["cat", "b"]).stdout == b"b"


def lives_or_is_lost(s: pyjail.Session) -> bool:
    """At once, and never with somebody else's answers."""
    try:
        assert s.run(["cat", "b"]).stdout == b"b"
        assert s.read("b") == b"b"
    except KeeperError as e:
        assert "session" in str(e)
        with pytest.raises(KeeperError):
            s.read("b")
        return False
    return True


def talk(s: pyjail.Session) -> None:
    with s.start(["cat"]) as p:
        p.stdin.write(b"x")
        p.stdin.close()
        assert p.stdout.read() == b"x"


TURNS = {
    "run": lambda s: s.run(["echo", "x"], input=b"y"),
    "collect": lambda s: s.run(["sh", "-c", "echo x > c"], collect=["c"]),
    "files": lambda s: s.run(["true"], files={"f": b"x"}),
    "start": talk,
    "communicate": lambda s: s.start(["cat"]).communicate(b"x"),
    "dropped": lambda s: s.start(["true"]) and None,
}


@pytest.mark.parametrize("name", TURNS)
def test_a_session_that_is_interrupted_goes_on_or_says_that_it_is_lost(name):
    call, lived = TURNS[name], 0
    s = pyjail.Session()
    with Unharmed():
        for n in every(lambda: call(pyjail.Session()), 40):
            s = pyjail.Session()
            s.write("b", b"b")
            with contextlib.suppress(Interrupted), Instant(n):
                call(s)
            lived += lives_or_is_lost(s)
            Unharmed.strangers(s.close)
        del s
    assert lived or name == "dropped"


@pytest.mark.parametrize("timeout", [None, 30 * SLOW])
def test_a_handlers_own_timeout_error_is_not_taken_for_the_callers_patience(timeout):
    class Mine(TimeoutError):
        pass

    def handler(*_):
        raise Mine

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pyjail.Session() as s:
            for run in (s.run, pyjail.run):
                signal.setitimer(signal.ITIMER_REAL, 0.3)
                with pytest.raises(Mine):
                    run(["sleep", "20"], timeout=timeout)
            with pytest.raises((KeeperError, FileNotFoundError)):  # lost, unless it came before there was a program
                s.read("a")
        with pyjail.Session() as s, s.start(["sleep", "20"]) as p:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(Mine):
                p.wait(timeout)
            p.kill()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
