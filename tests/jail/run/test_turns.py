"""Runs whose limits change from one to the next: what comes again and again has a jail that is ready for it."""

from __future__ import annotations

import os
from pathlib import Path

import pyjail
from pyjail import Limits, Pool
from tests.host_side import keepers_of
from tests.scripts import script

KINDS = [Limits(memory=(64 + n) << 20, processes=8 + n) for n in range(4)]


def guards() -> set[int]:
    """Pids of our direct children that are keepers' guards."""
    return {
        p
        for p in keepers_of(os.getpid())
        if Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
    }


def test_limits_that_come_in_turn_have_a_keeper_each_in_the_end():
    out = script("""
    import pyjail
    from pyjail import Limits
    from tests.jail.run.test_turns import KINDS, guards
    counts = []
    for _ in range(8):
        for limits in KINDS:
            r = pyjail.run(["sh", "-c", "exit 3"], limits)
            assert r.exit_code == 3 and r.limits == limits, r
        counts.append(len(guards()))
    print(counts[0], counts[-1])
    for limits in KINDS:
        before = guards()
        pyjail.run(["true"], limits)
        assert guards() == before
    """)
    assert out.stdout == "1 4\n", (out.stdout, out.stderr)


def test_limits_that_never_come_again_start_no_keeper():
    out = script("""
    import pyjail
    from pyjail import Limits
    from tests.jail.run.test_turns import guards
    for n in range(40):
        assert pyjail.run(["true"], Limits(memory=(64 + n) << 20)).ok
    print(len(guards()))
    """)
    assert out.stdout == "1\n", (out.stdout, out.stderr)


def test_each_run_has_the_limits_it_asked_for_whoever_was_armed_before():
    for _ in range(6):
        for limits in KINDS:
            r = pyjail.run(["sh", "-c", "ulimit -n"], limits)
            assert str(limits.memory) in str(r.receipt["memory"].value)
            assert str(limits.processes) in str(r.receipt["processes"].value)


def test_a_pool_keeps_no_more_than_two_keepers_for_each_of_its_places():
    with Pool(2) as pool:
        before = guards()
        for _ in range(8):
            for limits in KINDS[:3]:
                assert pool.run(["true"], limits).ok
        assert len(guards() - before) + pool.size <= 4
        assert pool.idle <= 4
