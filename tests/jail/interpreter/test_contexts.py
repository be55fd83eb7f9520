"""Several interpreters over one box: each its own process and state, the same files and limits."""

from __future__ import annotations

import os
import threading
import time

import pytest

import pyjail
from pyjail import Box, Interpreter, Jail, KeeperError, Limits, Verdict
from pyjail.interpreter import _sent
from tests.conftest import SLOW
from tests.host_side import keeper_below
from tests.inside import keeper_of

FOREVER = {"cpu_time": None, "wall_time": None}


def test_contexts_have_their_own_state_and_the_same_files(nothing_left):
    with Interpreter() as python:
        other = python.create_context(env={"WHO": "other"}, cwd="/tmp")
        python.run("x = 1; open('/box/a', 'w').write('text')")
        r = other.run("import os; open('/box/a').read(), os.environ['WHO'], os.getcwd(), 'x' in globals()")
        assert r.text == "('text', 'other', '/tmp', False)" and r.execution_count == 1
        assert python.run("import os; os.environ.get('WHO'), os.getcwd()").text == "(None, '/box')"
        assert python.run("1", context=other).execution_count == 2
        assert python.contexts[1] is other and len(python.contexts) == 2
        pids = [int(context.run("import os; os.getpid()").text) for context in python.contexts]
        assert pids[0] != pids[1]


def test_the_end_of_one_is_not_the_end_of_another():
    with Interpreter(timeout=60 * SLOW) as python:
        other = python.create_context()
        python.run("x = 1")
        assert other.run("import os; os._exit(5)").ended == "it exited with 5"
        assert python.run("x").text == "1" and other.run("2").restarted
        other.run("y = 1")
        other.restart()
        assert other.run("y").error.name == "NameError" and python.run("x").text == "1"
        other.remove()
        other.remove()
        assert len(python.contexts) == 1 and python.run("x").text == "1"
        with pytest.raises(KeeperError, match="closed"):
            other.run("1")


def test_cells_of_contexts_run_at_once_and_one_is_interrupted_alone():
    with Interpreter() as python:
        contexts = [python, *(python.create_context() for _ in range(3))]
        found = []

        def work(context):
            found.append(context.run("import time; time.sleep(0.6)\n'slept'").text)

        threads = [threading.Thread(target=work, args=(c,)) for c in contexts]
        for one in contexts:
            one.start()
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        contexts[1].interrupt()
        for thread in threads:
            thread.join()
        assert sorted(map(str, found)) == ["'slept'", "'slept'", "'slept'", "None"]
        assert time.monotonic() - begun < 1.8 * SLOW


def test_memory_is_of_the_box_and_who_meets_it_is_told():
    with Interpreter(limits=Limits(memory="96M", **FOREVER)) as python:
        other = python.create_context()
        python.run("x = 1")
        r = other.run("b = bytearray(1 << 28)")
        assert r.verdict is Verdict.MEMORY and r.ended.startswith("memory: ")
        assert other.run("1").restarted


def test_a_box_of_the_callers_stays_and_its_files_are_the_cells():
    with Box(limits=Limits(memory="256M", **FOREVER)) as box:
        box.write("data.txt", "from outside")
        with Interpreter(box=box) as python:
            assert python.box is box and python.run("open('data.txt').read()").text == "'from outside'"
            python.run("open('out', 'w').write('from inside')")
        assert box.read("out") == b"from inside" and box.run(["cat", "out"]).stdout == b"from inside"


def test_modules_of_the_box_can_be_imported(python):
    python.box.write("mine.py", "x = 5")
    python.box.write("pack/__init__.py", "from . import inner")
    python.box.write("pack/inner.py", "def f(): return 1 / 0")
    assert python.run("import mine, pack; mine.x").text == "5"
    assert 'File "/box/pack/inner.py", line 1, in f' in python.run("pack.inner.f()").error.traceback


def test_another_python_is_sent_the_source(monkeypatch):
    monkeypatch.setattr(_sent, "MAGIC_NUMBER", b"else")
    with Interpreter(Jail(python="/usr/bin/python3")) as python:
        assert python.run("import sys; sys.executable").text == "'/usr/bin/python3'"
        r = python.run("print('a'); display(1); await __import__('asyncio').sleep(0, 5)")
        assert (r.text, r.logs.stdout, r.results[0].text) == ("5", ("a\n",), "1")
        assert "pyjail" not in python.run("1 / 0").error.traceback


def test_restart_keeps_the_files(python):
    python.run("x = 1; open('kept', 'w').write('k'); open('/tmp/kept', 'w').write('t')")
    python.restart()
    assert python.run("open('kept').read() + open('/tmp/kept').read()").text == "'kt'"
    assert python.history == ("open('kept').read() + open('/tmp/kept').read()",)


def test_a_removed_context_does_not_wait_for_its_cell():
    with Interpreter() as python:
        other = python.create_context()
        found = []
        thread = threading.Thread(target=lambda: found.append(other.run("import time; time.sleep(60)")))
        thread.start()
        time.sleep(0.5 * SLOW)
        begun = time.monotonic()
        other.remove()
        thread.join()
        assert time.monotonic() - begun < 10 * SLOW and found[0].error.name == "InterpreterEnded"


def test_a_context_that_is_removed_while_it_starts_does_not_run_its_cell(monkeypatch):
    with Interpreter() as python:
        other = python.create_context()
        start, starting, go_on = python.box.start, threading.Event(), threading.Event()

        def slow(*args, **options):
            started = start(*args, **options)
            starting.set()
            go_on.wait(30)
            return started

        monkeypatch.setattr(python.box, "start", slow)
        found = []
        thread = threading.Thread(target=lambda: found.append(other.run("import time; time.sleep(300)")))
        thread.start()
        assert starting.wait(60)
        remover = threading.Thread(target=other.remove)
        remover.start()
        time.sleep(0.2)
        go_on.set()
        thread.join(60)
        remover.join(60)
        assert not thread.is_alive() and found[0].error.name == "InterpreterEnded"


def test_a_lost_box_is_an_error_and_no_answer_of_the_cell():
    with Interpreter() as python:
        python.run("1")
        python.box.close()
        with pytest.raises(KeeperError):
            python.run("2")


@pytest.mark.parametrize("when", ["between cells", "in a cell"])
def test_a_jail_that_fails_is_raised_and_no_answer_of_the_cell(when):
    with Interpreter() as python:
        python.run("1")
        keeper = keeper_below(keeper_of(python.box).pid)
        timer = threading.Timer(0.3 * SLOW if when == "in a cell" else 0, os.kill, (keeper, 9))
        timer.start()
        if when == "between cells":
            timer.join()
        with pytest.raises(pyjail.JailError):
            python.run("import time; time.sleep(20)")
