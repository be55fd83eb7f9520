"""What programs of a box do to each other before either has begun, and what a keeper without fds does."""

from __future__ import annotations

import os
import time

from pyjail import DEVNULL, Verdict
from tests.conftest import SLOW
from tests.host_side import keepers_of
from tests.jail.box.programs import PYTHON, shell
from tests.scripts import script, until

# In the background, whatever is started: it is killed as soon as it is there, armed ones too.
KILLER = """
import os
if os.fork(): os._exit(0)
me = os.getpid()
while True:
    for pid in range(2, me + 400):
        if pid != me:
            try: os.kill(pid, 9)
            except OSError: pass
"""


def test_who_was_killed_before_it_began_is_told_as_killed_never_as_a_failure_of_ours(box):
    """It is started anew some times; a sibling that kills all the while is told as one that kills later."""
    box.run([*PYTHON, KILLER], orphans="keep")
    assert until(lambda: any(p.kept for p in box.processes()))
    verdicts = {box.run(["true"]).verdict for _ in range(60)}
    with box.start(["true"], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL) as p:
        p.wait()
    verdicts.add(p.result.verdict)
    box.kill()
    assert verdicts <= {Verdict.OK, Verdict.SIGNALED}
    assert box.run(["echo", "on"]).stdout == b"on\n"


def test_a_program_that_kills_all_before_it_ends_is_not_in_the_way_of_the_next(box):
    """What was armed for the next one dies with it, perhaps after the next has been asked for."""
    for _ in range(30):
        box.run(shell("kill -9 -1"))
        assert box.run(["echo", "on"]).stdout == b"on\n"


def test_a_keeper_without_fds_refuses_the_next_program_and_keeps_the_others():
    code = """
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    from pyjail import DEVNULL, Box, SetupError
    with Box() as box:
        box.write("f", "x")
        running = []
        try:
            while len(running) < 100:
                running.append(box.start(["cat"], stdout=DEVNULL, stderr=DEVNULL))
        except OSError as e:
            assert "ulimit -Hn" in str(e), e
        assert 3 < len(running) < 100
        told = []
        for p in running:
            p.stdin.close()
            try: told.append(p.wait())
            except SetupError as e: assert "ulimit -Hn" in str(e), e
        assert len(told) > 3 and set(told) == {0}, told
        assert box.run(["cat", "f"]).stdout == b"x"
    """
    r = script(code)
    assert r.returncode == 0, r.stderr


def is_first(pid: int) -> bool:
    """Whether it is number 1 in a namespace of its own, as a keeper is."""
    with open(f"/proc/{pid}/status") as f:
        numbers = next(line.split()[1:] for line in f if line.startswith("NSpid"))
    return len(numbers) > 1 and numbers[-1] == "1"


def test_what_is_left_behind_and_floods_its_output_costs_the_keeper_little(box):
    """Some of it is read in each millisecond: the keeper's time is nobody's to use up."""
    box.run(shell("cat /dev/zero & cat /dev/zero >&2 &"), orphans="keep")
    (pid,) = (pid for pid in keepers_of(os.getpid()) if is_first(pid))

    def used() -> float:
        with open(f"/proc/{pid}/stat") as f:
            return sum(map(int, f.read().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")

    before, began = used(), time.monotonic()
    time.sleep(1.5)
    share = (used() - before) / (time.monotonic() - began)
    assert share < min(0.9, 0.1 * SLOW), share
