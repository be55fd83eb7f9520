"""What a program leaves behind: killed by default, kept when asked, told, counted, and ended with the box."""

from __future__ import annotations

import os
import time

import pytest

from pyjail import Box, Jail, Limits, SetupError, Verdict
from tests.conftest import SLOW
from tests.host_side import alive, leaves_of
from tests.jail.box.programs import LIMITS, PYTHON, shell
from tests.scripts import until


def test_by_default_nothing_outlives_its_program(box):
    r = box.run(shell("sleep 99 & setsid sleep 98 & echo started"))
    assert r.verdict is Verdict.OK and r.stdout == b"started\n"
    assert box.processes() == []


def test_what_is_kept_lives_on_and_is_told(box):
    began = time.time()
    r = box.run(shell("sleep 99 & setsid sleep 98 & echo started"), orphans="keep")
    assert r.verdict is Verdict.OK and r.stdout == b"started\n"
    assert until(lambda: sorted(p.args for p in box.processes()) == [("sleep", "98"), ("sleep", "99")])
    kept = box.processes()
    for p in kept:
        assert p.kept and p.pid > 1 and alive(p.host_pid) and p.command == "sleep"
        assert began - 5 < p.started < time.time() + 5 and p.memory >= 0
    r = box.run([*shell("kill $0"), str(kept[0].pid)])
    assert r.exit_code == 0
    assert until(lambda: len(box.processes()) == 1)
    with box.start(["cat"]) as p:
        assert sorted(p.kept for p in box.processes()) == [False, True]
        p.kill()
    box.kill()
    assert box.processes() == [] and until(lambda: not any(alive(p.host_pid) for p in kept))
    assert box.run(["echo", "on"]).stdout == b"on\n"


def test_a_server_in_the_background_is_there_for_the_next_command():
    server = "import http.server as h; h.HTTPServer(('127.0.0.1', 8000), h.SimpleHTTPRequestHandler).serve_forever()"
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/page').read())"
    with Box(Jail(network="loopback"), LIMITS) as box:
        box.write("page", "hello")
        r = box.run([*shell('"$@" > log 2>&1 &'), "sh", *PYTHON, server], orphans="keep")
        assert r.verdict is Verdict.OK
        assert until(lambda: box.run([*PYTHON, ask]).stdout == b"b'hello'\n")


def test_the_output_of_what_is_kept_goes_nowhere_and_stops_nobody(box):
    box.run(shell("(yes > /dev/stderr; echo never) & (while echo x; do :; done; touch stopped) &"), orphans="keep")
    time.sleep(1)
    assert box.run(["ls"]).stdout == b""
    assert len([p for p in box.processes() if p.kept]) >= 2


def test_what_is_kept_counts_against_the_box():
    with Box(limits=Limits(processes=8, cpu_time=20 * SLOW)) as box:
        box.run(shell("for i in 1 2 3 4 5; do sleep 99 & done"), orphans="keep")
        assert len(box.processes()) == 5
        r = box.run(shell("for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait"))
        assert b"fork" in r.stderr.lower()
        box.kill()
        assert box.run(shell("for i in 1 2 3 4 5 6; do true & done; wait")).verdict is Verdict.OK


def test_what_was_kept_and_has_ended_is_forgotten(box):
    for _ in range(30):
        box.run(shell("sleep 0.05 &"), orphans="keep")
    assert until(lambda: box.processes() == [])
    assert until(
        lambda: len([path for path in leaves_of(os.getpid()) if "/unified/" in path and "/box/r" in path]) <= 5
    )
    assert box.run(shell("sleep 99 &"), orphans="keep").ok and len(box.processes()) == 1


def test_what_is_kept_ends_with_the_box():
    with Box(limits=LIMITS) as box:
        box.run(shell("trap '' TERM HUP; sleep 99 & setsid sleep 99 &"), orphans="keep")
        kept = box.processes()
    began = time.monotonic()
    assert until(lambda: not any(alive(p.host_pid) for p in kept))
    assert time.monotonic() - began < SLOW


def test_processes_of_a_hostile_program_are_told_all_the_same(box):
    code = r"""
import ctypes, sys, time
ctypes.CDLL(None).prctl(15, b") R (x\n\xff", 0, 0, 0)
time.sleep(99)
"""
    with box.start([*PYTHON, code, "\x1b[2J", "x" * 10000]) as p:
        assert until(lambda: box.processes()[0].command.startswith(") R (x"))
        (found,) = box.processes()
        assert found.args[:2] == tuple(PYTHON[:2]) and sum(map(len, found.args)) <= 4096
        assert "\x1b" not in repr(found)
        p.kill()


@pytest.mark.slow  # more than a thousand processes
def test_one_more_than_can_be_kept_is_refused_with_the_fix_and_the_box_goes_on():
    leave = shell("sleep 99 >&- 2>&- &")
    with Box(limits=Limits(processes=1100, memory="1G", wall_time=60 * SLOW)) as box:
        with pytest.raises(SetupError, match=r"EUSERS.*left somebody behind: Box.kill\(\)"):
            for _ in range(1025):
                assert box.run(leave, orphans="keep").ok
        assert len(box.results) <= 1024 == len(box.processes())
        assert box.run(["true"]).ok
        box.kill()
        assert box.processes() == [] and box.run(leave, orphans="keep").ok
