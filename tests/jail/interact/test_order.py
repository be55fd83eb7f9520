"""interact: who was first, back-pressure, limits."""

from __future__ import annotations

import resource
import signal

import pytest

from pyjail import Edge, Limits, Party, Verdict
from tests.conftest import SLOW
from tests.jail.interact.parties import PY, play, sh


def test_a_party_that_exits_early():
    i = play(sh("exit 0"), sh("read x; sleep 0.2; echo an answer; echo alive >&2"))
    assert (i.first.party, i.first.what, i.first.verdict) == ("a", "ended", Verdict.OK)
    assert i.results["b"].signal == signal.SIGPIPE
    assert (i.verdict, i.fault) == ("fault", "a")  # b was ended by the pipe that a broke
    assert i.flow("b.stdout").closed_by == "a"


@pytest.mark.parametrize("how", ["exit 141", "kill -PIPE $$"])
@pytest.mark.parametrize("closes", [False, True])
def test_sigpipe_is_no_excuse_for_who_cannot_have_met_it(how, closes):
    """An exit code is the program's own; so is a signal where no pipe was closed to it."""
    if how == "exit 141":
        i = play(sh("read x; exit 0", name="judge"), sh(f"echo 1; sleep 0.3; {how}", name="player"))
        assert i.fault == "player"
    own = "exec >&-; " if closes else ""
    i = play(sh("read x; exit 0", name="judge"), sh(f"echo 1; {own} sleep 0.3; {how}", name="player"), sigpipe=closes)
    assert (i.verdict, i.fault) == ("fault", "player")


def test_a_party_that_crashes_is_at_fault_and_not_who_waits_for_it():
    i = play(sh("read x; kill -SEGV $$"), sh("echo hello; read answer || exit 9"))
    assert (i.verdict, i.fault) == ("fault", "a")
    assert (i.first.party, i.first.verdict) == ("a", Verdict.SIGNALED)
    assert i.results["b"].exit_code == 9


def test_a_party_that_answers_before_it_is_asked():
    i = play(sh(f"sleep {0.5 * SLOW}; echo 3 4; read x; echo $x >&2"), sh("echo 7; read a b"))
    assert i.ok and i.results["a"].stderr == b"7\n"
    assert i.flow("b.stdout").transcript[0][0] < i.flow("a.stdout").transcript[0][0]


def test_a_party_that_closes_stdin_and_computes_on():
    compute = "n=0; while [ $n -lt 100000 ]; do n=$((n+1)); done; sleep 1"
    i = play(sh("read x; sleep 0.2; echo x; echo never >&2"), sh(f"exec <&-; echo closed; {compute}"))
    assert (i.first.party, i.first.what, i.first.stream) == ("b", "closed", "stdin")
    assert i.results["a"].signal == signal.SIGPIPE
    assert i.results["b"].ok
    assert i.fault == "b"


def test_a_party_that_closes_stdout_lets_the_other_see_the_end():
    i = play(sh("cat >&2; echo end >&2; echo x"), sh("echo one; exec >&-; sleep 1; read x; echo $x >&2"))
    assert i.ok
    assert i.results["a"].stderr == b"one\nend\n"
    assert i.results["b"].stderr == b"x\n"
    assert [(h.party, h.what) for h in i.happenings] == [("b", "closed"), ("a", "ended"), ("b", "ended")]


def test_a_reader_that_never_reads_stops_its_writer():
    i = play(sh("exec yes"), sh("sleep 1"), edges=["a.stdout -> b.stdin"], transcript=10)
    assert i.flow("a.stdout").written < 1 << 20
    assert i.results["a"].signal == signal.SIGPIPE
    assert (i.first.party, i.first.what) == ("b", "ended")


@pytest.mark.parametrize("edge", [Edge("a.stdout", "b.stdin", False), "a.stdout -> b.stdin"])
def test_a_writer_may_write_on_when_nobody_reads(edge):
    code = f"sleep {0.3 * SLOW}; head -c 500000 /dev/zero; echo all >&2"
    i = play(sh(code), sh("exit 0"), edges=[edge], sigpipe=isinstance(edge, Edge))
    assert i.ok and i.results["a"].stderr == b"all\n"
    assert i.flow("a.stdout").written == 500_000
    assert i.flow("a.stdout").delivered <= 65536  # a pipe full, where who does not read was late to end


@pytest.mark.needs_cgroups
def test_a_flood_ends_with_the_limit_of_who_floods():
    i = play(
        sh("exec yes", Limits(cpu_time=0.3 * SLOW, wall_time=30 * SLOW)), sh("exec cat >/dev/null"), transcript="1K"
    )
    assert (i.verdict, i.fault) == ("fault", "a")
    assert i.results["a"].verdict is Verdict.CPU_TIME
    assert i.flow("a.stdout").written > 1 << 20


def test_a_flood_does_not_outlast_the_wall_limit_for_all():
    i = play(sh("exec yes"), sh("exec cat >/dev/null"), transcript="1K", wall_time=0.7 * SLOW)
    assert i.verdict == "wall_time"


@pytest.mark.needs_cgroups
def test_one_partys_limit_is_its_own():
    i = play(Party([*PY, "x = b'x' * (1 << 30)"], Limits(memory="64M")), sh("read x; exit 0"))
    assert i.results["a"].verdict is Verdict.MEMORY
    assert i.results["b"].verdict is Verdict.OK
    assert i.fault == "a"


def test_the_wall_limit_of_one_party_ends_it_alone():
    i = play(sh("sleep 100", Limits(wall_time=0.5)), sh("read x; echo end >&2"))
    assert (i.verdict, i.fault) == ("fault", "a")
    assert i.results["a"].verdict is Verdict.WALL_TIME
    assert i.results["b"].stderr == b"end\n"


def test_a_party_that_writes_byte_by_byte_does_not_keep_the_embedder_busy():
    """O_DIRECT makes a packet of each write: one read, and one turn of the relay, for each byte."""
    code = "import fcntl, os, time\nfcntl.fcntl(1, fcntl.F_SETFL, os.O_DIRECT | os.O_WRONLY)\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: os.write(1, b'x')"
    before = resource.getrusage(resource.RUSAGE_SELF)
    i = play(Party([*PY, code]), sh("exec cat > /dev/null"), transcript=0)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert i.ok
    assert i.flow("a.stdout").delivered == i.flow("a.stdout").written > 10_000
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 0.6 * SLOW  # it was two thirds of the time
