"""`Jail(fresh=True)`: no keeper, and no namespace, serves two runs, also when the next one is made ahead of time."""

from __future__ import annotations

import os
import threading

import pyjail
from pyjail import Jail, Limits
from pyjail._run.fresh import OFTEN, spares
from tests.conftest import SLOW
from tests.host_side import alive, keepers_of
from tests.inside import idle_keepers
from tests.scripts import script, until

FRESH = Jail(fresh=True)
LIMITS = Limits(cpu_time=10 * SLOW, wall_time=30 * SLOW)
NAMESPACES = "readlink /proc/self/ns/user /proc/self/ns/net /proc/self/ns/uts /proc/self/ns/pid /proc/self/ns/mnt"


def test_no_two_runs_share_a_namespace_whoever_made_the_keeper():
    pyjail.close()
    seen, keepers = set(), set()
    for _ in range(3 * OFTEN):
        r = pyjail.run(
            ["sh", "-c", f"{NAMESPACES}; echo x > /box/left; ls /box | wc -l"], LIMITS, jail=FRESH, text=True
        )
        lines = r.stdout.split()
        assert lines[-1] == "1"
        assert not seen & set(lines[:-1]), "used twice"
        spares.rest()  # so that the next run has one that was made ahead
        keepers |= {k.pid for k in idle_keepers() if k.template.jail.fresh}
    assert len(keepers) >= OFTEN, "none was made ahead"


def test_a_few_runs_make_nothing_ahead():
    pyjail.close()
    spares.forget()
    others = keepers_of(os.getpid())
    for _ in range(OFTEN - 1):
        assert pyjail.run(["true"], LIMITS, jail=FRESH).ok
        assert keepers_of(os.getpid()) == others


def test_other_limits_meet_a_keeper_that_was_made_ahead():
    for i in range(3 * OFTEN):
        r = pyjail.run(["sh", "-c", "ulimit -n"], Limits(open_files=30 + i, wall_time=30 * SLOW), jail=FRESH, text=True)
        assert r.stdout == f"{30 + i}\n"


def test_what_was_made_ahead_ends_with_close_and_is_used_by_threads():
    pyjail.close()
    others = set(keepers_of(os.getpid()))

    def many():
        for _ in range(2 * OFTEN):
            assert pyjail.run(["echo", "x"], LIMITS, jail=FRESH).stdout == b"x\n"

    threads = [threading.Thread(target=many) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    below = set(keepers_of(os.getpid())) - others
    pyjail.close()
    assert not any(map(alive, below))
    assert set(keepers_of(os.getpid())) == others


def test_one_that_died_while_it_waited_is_replaced():
    for _ in range(2 * OFTEN):
        pyjail.run(["true"], LIMITS, jail=FRESH)
    spares.rest()
    assert any(k.template.jail.fresh for k in idle_keepers())
    for keeper in idle_keepers():
        os.kill(keeper.pid, 9)
    assert until(lambda: not any(k.alive for k in idle_keepers()))
    assert pyjail.run(["echo", "x"], LIMITS, jail=FRESH).stdout == b"x\n"


def test_fork_and_exit_with_one_being_made():
    code = """
    import os, pyjail
    jail = pyjail.Jail(fresh=True)
    for _ in range(10):
        pyjail.run(["true"], jail=jail)
    if os.fork() == 0:
        for _ in range(10):
            assert pyjail.run(["echo", "child"], jail=jail).stdout == b"child\\n"
        pyjail.close()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
    for _ in range(10):
        pyjail.run(["true"], jail=jail)
    print("exit at once")
    """
    out = script(code)
    assert (out.stdout, out.stderr) == ("0\nexit at once\n", "")


def test_learning_never_takes_one_that_was_made_ahead():
    for _ in range(2 * OFTEN):
        pyjail.run(["true"], LIMITS, jail=FRESH)
    spares.rest()
    assert "brk" in pyjail.learn(["true"], LIMITS, jail=FRESH).calls
