"""Interrupts: a cell is ended and its state kept; one that does not obey is killed, and that is told."""

from __future__ import annotations

import threading
import time

import pytest

from pyjail import Interpreter, SpecError, Verdict
from tests.conftest import SLOW

SHORT, GRACE = 0.3 * SLOW, 2 * SLOW  # s


@pytest.fixture(scope="module")
def brief():
    with Interpreter(timeout=SHORT, grace=GRACE) as python:
        python.run("1 / 0", timeout=600)  # a traceback's modules are read once, where reading is slow
        yield python


@pytest.mark.parametrize(
    "code",
    ["while True: pass", "import time; time.sleep(60)", "import os; os.system('sleep 60')", "import subprocess; subprocess.run(['sleep', '60'])",
     "import asyncio; await asyncio.sleep(60)", "import threading; threading.Event().wait()", "!sleep 60", "while True: print('x')",
     "while True: display(1)", "import time\ntry: time.sleep(60)\nfinally: x = 2", "import asyncio\nasyncio.run(asyncio.sleep(60))",
     "import multiprocessing as m, time\nm.get_context('fork').Pool(1).map(time.sleep, [60])"],
)  # fmt: skip
def test_a_timeout_interrupts_the_cell_and_state_stays(brief, code):
    brief.restart()
    brief.run("x = 1", timeout=60)
    r = brief.run(code)
    assert (r.verdict, r.error.name, r.interrupted, r.ended) == (Verdict.WALL_TIME, "KeyboardInterrupt", True, ""), r
    assert brief.run("x", timeout=60).text in ("1", "2") and len(brief.history) == 2
    assert SHORT <= r.usage.wall_time < 20 * SLOW


@pytest.mark.parametrize(
    "code",
    ["import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
     "import time\nwhile True:\n    try: time.sleep(60)\n    except BaseException: pass",
     "import itertools; sum(itertools.repeat(0))"],
)  # fmt: skip
def test_a_cell_that_does_not_obey_is_killed_and_so_is_its_state(brief, code):
    brief.restart()
    brief.run("x = 1", timeout=60)
    r = brief.run(code)
    assert (r.verdict, r.error.name, r.interrupted) == (Verdict.WALL_TIME, "InterpreterEnded", True), r
    assert r.ended == f"it was killed: it had not obeyed an interrupt for {GRACE:g} s"
    r = brief.run("x", timeout=60)
    assert (r.error.name, r.restarted) == ("NameError", True)
    assert [one.text for one in brief.replay(timeout=60)] == [None] and brief.run("x", timeout=60).text == "1"


def test_a_cells_own_handler_stays(brief):
    brief.restart()
    brief.run("import signal\nsignal.signal(signal.SIGINT, lambda *a: print('mine'))", timeout=60)
    r = brief.run("signal.pause()\n5")
    assert (r.verdict, r.text, "".join(r.logs.stdout)) == (Verdict.OK, "5", "mine\n") or r.ended, r


def test_an_interrupt_before_the_cell_has_begun_is_not_lost(brief):
    for _ in range(5):
        brief.restart()  # Python starts meanwhile
        r = brief.run("while True: pass", timeout=0.001)
        assert (r.verdict, r.error.name, r.ended) == (Verdict.WALL_TIME, "KeyboardInterrupt", ""), r
    assert brief.run("1", timeout=60).text == "1"


NOT_WOKEN = """
import signal, threading, time
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()  # who gets the signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
time.sleep(600)
"""


def test_an_interrupt_that_wakes_nobody_is_seen(brief):
    """As one that comes between Python's look for signals and the wait in the kernel."""
    brief.restart()
    brief.run("x = 1", timeout=60)
    r = brief.run(NOT_WOKEN)
    assert (r.error.name, r.interrupted, r.ended) == ("KeyboardInterrupt", True, ""), r
    assert brief.run("x", timeout=60).text == "1"


def test_interrupts_come_from_other_threads_too(python):
    python.interrupt()  # nothing runs: nothing happens
    python.run("x = 1")
    timer = threading.Timer(0.2 * SLOW, python.interrupt)
    timer.start()
    r = python.run("import time; time.sleep(60)")
    assert (r.verdict, r.error.name, r.interrupted) == (Verdict.RUNTIME_ERROR, "KeyboardInterrupt", True)
    assert python.run("x").text == "1"


def test_an_interrupt_that_comes_late_does_not_meet_the_next_cell(python):
    python.run("import time")
    for i in range(40):
        r = python.run(f"time.sleep({i * 0.0005})", timeout=0.01)
        assert r.verdict in (Verdict.OK, Verdict.WALL_TIME) and not r.ended, r
        r = python.run("for _ in range(2000): pass\n1")
        assert (r.text, r.interrupted) == ("1", False), r


def test_what_a_callback_raises_interrupts_the_cell_and_is_raised(python):
    python.run("x = 1")

    def stop(text):
        raise LookupError(text)

    begun = time.monotonic()
    with pytest.raises(LookupError, match="a"):
        python.run("import time\nprint('a')\ntime.sleep(60)", on_stdout=stop)
    assert python.run("x").text == "1"
    for _ in range(20):
        with pytest.raises(LookupError):
            python.run("print('a')\ndisplay(1)\nimport time; time.sleep(60)", on_stdout=stop)
    with pytest.raises(LookupError):
        python.run("display(1)\nimport time\ntime.sleep(60)", on_result=stop)
    assert time.monotonic() - begun < 20 * SLOW
    r = python.run("x")
    assert (r.text, r.lost, r.logs.stdout) == ("1", "", ())


def test_what_was_lost_is_told_by_the_next_cell_that_tells_anything(python):
    python.run("x = 1")
    assert python.run("import os; os._exit(3)").ended
    with pytest.raises(ZeroDivisionError):
        python.run("print('a')", on_stdout=lambda text: 1 / 0)
    r = python.run("x")
    assert (r.error.name, r.lost) == ("NameError", "it exited with 3")


def test_a_callback_may_interrupt_its_cell_and_not_wait_for_it(python):
    r = python.run("print('a')\nimport time; time.sleep(60)", on_stdout=lambda text: python.interrupt())
    assert (r.error.name, r.interrupted) == ("KeyboardInterrupt", True)
    for call in (lambda text: python.run("1"), lambda text: python.restart()):
        with pytest.raises(SpecError, match="callback"):
            python.run("print('a')", on_stdout=call)
    assert python.run("1").text == "1"


def test_cells_of_one_context_run_one_after_the_other(python):
    python.run("n = 0")
    threads = [
        threading.Thread(target=python.run, args=("m = n\nimport time; time.sleep(0.005)\nn = m + 1",))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert python.run("n").text == "20"
