"""interact: limits for all, deadlocks, named pipes opened late or never."""

from __future__ import annotations

import signal
import sys

import pytest

from pyjail import Party
from tests.conftest import SLOW
from tests.jail.interact.parties import LIMITS, PY, play, sh


def test_a_wall_limit_for_all():
    i = play(sh("while :; do sleep 0.05; done"), sh("cat"), wall_time=0.7 * SLOW)
    assert (i.verdict, i.fault) == ("wall_time", None)
    assert [(h.party, h.what) for h in sorted(i.happenings, key=lambda h: h.party)] == [
        ("a", "killed"),
        ("b", "killed"),
    ]
    assert [r.signal for r in i.results.values()] == [9, 9]
    assert i.flow("a.stdout").closed_by is None


def test_both_wait_for_each_other():
    i = play(sh("read x"), sh("cat"), deadlock_after=0.4)
    assert i.verdict == "deadlock"
    assert i.deadlock == {
        "a": ("reads a.stdin, and b writes nothing",),
        "b": ("reads b.stdin, and a writes nothing",),
    }
    assert {h.what for h in i.happenings} == {"killed"}


def test_both_write_and_nobody_reads():
    code = "head -c 1000000 /dev/zero; cat >/dev/null"
    i = play(sh(code), sh(code), deadlock_after=0.4)
    assert i.deadlock == {
        "a": ("writes a.stdout, and b reads nothing",),
        "b": ("writes b.stdout, and a reads nothing",),
    }


def test_a_circle_of_three_that_all_wait():
    edges = ["a.stdout -> b.stdin", "b.stdout -> c.stdin", "c.stdout -> a.stdin"]
    i = play(sh("cat"), sh("cat"), sh("cat"), edges=edges, deadlock_after=0.4)
    assert list(i.deadlock) == ["a", "b", "c"]


def test_who_reads_a_named_pipe_is_part_of_a_deadlock():
    i = play(sh("cat /pipes/i"), sh("cat"), edges=["a.o -> b.stdin", "b.stdout -> a.i"], deadlock_after=0.4)
    assert i.deadlock["a"] == ("reads a.i, and b writes nothing",)


def test_the_last_party_left_may_be_in_a_deadlock_with_itself():
    i = play(sh("exit 0"), Party([*PY, "import signal; signal.pause()"], LIMITS), deadlock_after=0.4)
    assert i.deadlock == {"b": ("waits in pause",)} or i.deadlock == {"b": ("waits in ppoll",)}  # aarch64 has no pause


@pytest.mark.parametrize(
    "code",
    [
        "sleep 2; echo x",
        "n=0; while [ $n -lt 1500000 ]; do n=$((n+1)); done; echo x",
        "for i in 1 2 3 4; do sleep 0.5; done; echo x",
        f"exec {sys.executable} -I -c 'import select; select.select([], [], [], 2); print()'",
        f"exec {sys.executable} -I -c 'import threading; threading.Event().wait(2); print()'",
    ],
)
def test_who_sleeps_or_computes_is_in_no_deadlock(code):
    i = play(sh(code, name="slow"), sh("read x; exit 0"), edges=["slow.stdout -> b.stdin"], deadlock_after=0.2)
    assert i.ok, i.deadlock


def test_deadlocks_need_not_be_looked_for():
    i = play(sh("read x"), sh("cat"), deadlock_after=None, wall_time=2.5)
    assert i.verdict == "wall_time"


def test_a_named_pipe_that_is_opened_when_its_reader_is_gone_does_not_hang():
    code = "sleep 0.5; exec 3>/pipes/o; sleep 0.5; trap '' PIPE; echo x >&3 || echo broken"
    i = play(sh(code, name="m"), sh("exit 0", name="p"), edges=["m.o -> p.stdin"])
    assert i.results["m"].stdout == b"broken\n"


def test_named_pipes_that_are_never_opened_end_with_their_party():
    i = play(sh("sleep 0.2", name="m"), sh("cat; echo end", name="p"), edges=["m.o -> p.stdin"])
    assert i.ok and i.results["p"].stdout == b"end\n"
    i = play(sh("sleep 0.2", name="m"), sh("exec yes", name="p"), edges=["p.stdout -> m.i"], transcript=1)
    assert i.results["p"].signal == signal.SIGPIPE
    assert i.fault == "m"


def test_what_waits_in_a_named_pipe_is_there_when_it_is_opened():
    i = play(sh("sleep 0.5; cat /pipes/i", name="m"), sh("echo early", name="p"), edges=["p.stdout -> m.i"])
    assert i.ok and i.results["m"].stdout == b"early\n"
