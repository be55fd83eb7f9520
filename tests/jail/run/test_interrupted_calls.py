"""A signal handler that raises, at every step of a call that starts something: nothing is left, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import sys

import pytest

import pyjail
from pyjail import Jail, Limits, Party, aio, testing
from pyjail.grading import Case, check_function
from tests.conftest import SLOW
from tests.inside import STARTS
from tests.instants import Instant, Interrupted, Unharmed, every, some
from tests.scripts import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # see `Unharmed`
LIMITS = Limits(cpu_time=10 * SLOW, wall_time=20 * SLOW)


def cold() -> None:
    pyjail.close()
    pyjail.run(["true"])


def named_pipes() -> None:
    edges = ["a.b -> b.stdin", "b.stdout -> a.stdin"]
    pyjail.interact(
        Party(["sh", "-c", "echo 1 > /pipes/b; read x"], LIMITS, name="a"),
        Party(["sh", "-c", "read x; echo $x"], LIMITS, name="b"),
        edges=edges,
    )


CALLS = {
    "run": (lambda: pyjail.run(["true"]), 60),
    "cold": (cold, 40),
    "fresh": (lambda: pyjail.run(["true"], jail=Jail(fresh=True)), 40),
    "input": (lambda: pyjail.run(["cat"], input=b"x"), 40),
    "files": (lambda: pyjail.run(["sh", "-c", "cp f g"], files={"f": "x"}, collect=["g"]), 60),
    "timeout": (lambda: pyjail.run(["true"], timeout=10), 30),
    "start": (lambda: pyjail.start(["true"], pty=False), 80),
    "pty": (lambda: pyjail.start(["true"], pty=True), 30),
    "block": (lambda: pyjail.start(["echo", "x"]).__enter__().__exit__(None, None, None), 50),
    "interact": (lambda: pyjail.interact(["sh", "-c", "echo 1; read x"], ["sh", "-c", "read x; echo $x"]), 40),
    "named pipes": (named_pipes, 40),
    "grading": (lambda: check_function("def f(x): return x", "f", [Case((1,), 1)]), 20),
    "aio.run": (lambda: asyncio.run(aio.run(["true"])), 60),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_interrupted_leaves_nothing_and_closes_nobody_elses_fds(name):
    call, most = CALLS[name]
    call()
    with Unharmed():
        for n in every(call, most):
            left = []
            with contextlib.suppress(Interrupted), Instant(n):
                left.append(call())
            Unharmed.strangers(left.clear)
            if name in ("cold", "fresh"):  # `close` may be what was interrupted; a spare keeper may be in the making
                pyjail.close()
            assert until(lambda: not testing.busy()), n  # a helper may just be ending one
            assert pyjail.run(["echo", "x"]).stdout == b"x\n"


@pytest.mark.parametrize("what", STARTS)
@pytest.mark.parametrize("call", [pyjail.run, pyjail.start], ids=["run", "start"])
def test_the_end_of_what_was_interrupted_twice_is_left_to_the_next_run(call, what, monkeypatch):
    """Somebody presses ^C again: at each step of what the first one leads to, in a run or in a keeper that starts."""
    owner, name = STARTS[what]
    begin = getattr(owner, name)

    def again(n):
        second = Instant(n)

        def interrupted(*args):
            begin(*args)
            second.__enter__()
            raise Interrupted

        with monkeypatch.context() as first:
            first.setattr(owner, name, interrupted)
            if what == "keeper":
                pyjail.close()
            with contextlib.suppress(Interrupted):
                call(["sleep", "30"], LIMITS)
        second.__exit__()
        return second.steps

    with Unharmed():
        for n in some(again(0), 200):
            again(n)
            assert pyjail.run(["echo", "x"]).stdout == b"x\n"
            assert testing.busy() == [], n


def test_a_run_at_the_end_of_the_stack_leaves_no_jail():
    def deep(n):
        return deep(n - 1) if n else pyjail.run(["echo", "x"]).stdout

    most = sys.getrecursionlimit()
    with Unharmed():
        for n in range(60):
            sys.setrecursionlimit(most)
            pyjail.run(["true"])
            try:
                sys.setrecursionlimit(len(inspect.stack(0)) + 120)
                with contextlib.suppress(RecursionError):
                    deep(118 - n)
            finally:
                sys.setrecursionlimit(most)
            assert pyjail.run(["echo", "x"]).stdout == b"x\n"
            assert testing.busy() == [], n


def once(options, call):
    """A process, of which ``call`` is interrupted at each of its steps, and then repeated: what that came to."""
    found = []
    with Unharmed():
        for n in every(lambda: call(pyjail.start(**options)), 60):
            p = pyjail.start(**options)
            with contextlib.suppress(Interrupted), Instant(n):
                call(p)
            found.append((call(p), p))
            p.close()
            p.wait()
    return found


def test_a_wait_that_is_interrupted_loses_no_result():
    big = 400_000  # more than is kept in memory between runs
    script = f"head -c {big} /dev/zero; echo y > f; exit 3"
    options = {
        "args": ["sh", "-c", script],
        "limits": LIMITS,
        "stdin": None,
        "stdout": None,
        "stderr": None,
        "collect": ["f"],
    }
    for code, p in once(options, lambda p: p.wait()):
        assert code == 3
        assert p.result.stdout == b"\0" * big
        assert p.result.files == {"f": b"y\n"}


def test_a_poll_that_is_interrupted_loses_no_result():
    def poll(p):
        while p.poll() is None:
            pass
        return p.returncode

    for code, p in once({"args": ["sh", "-c", "exit 4"], "limits": LIMITS, "stdin": None}, poll):
        assert code == p.result.exit_code == 4


def test_a_communicate_that_is_interrupted_loses_no_byte():
    data = os.urandom(200_000)
    for out, p in once({"args": ["cat"], "limits": LIMITS}, lambda p: p.communicate(data)):
        assert out == (data, b"")
        assert p.result.ok


def test_a_place_of_a_pool_is_free_again_after_an_interrupt():
    with Unharmed(), pyjail.Pool(1, limits=LIMITS) as pool:
        for n in every(lambda: pool.run(["true"]), 60):
            with contextlib.suppress(Interrupted), Instant(n):
                pool.run(["true"])
            assert pool.run(["echo", "x"], timeout=20 * SLOW).stdout == b"x\n"
            assert pool.running == 0
