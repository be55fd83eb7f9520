"""What ends an interpreter is told as what it was; the next cell starts a new one, and says so."""

from __future__ import annotations

import gc
import time

import pytest

import pyjail
from pyjail import ExecError, Interpreter, KeeperError, Limits, Verdict
from tests.conftest import SLOW

CLOSED = "it closed its channel, and exited with 76"


def after(python, ended):
    """The next cell, which has to say that state was lost, and why."""
    r = python.run("x")
    assert (r.restarted, r.lost, r.execution_count, r.error.name) == (True, ended, 1, "NameError")
    r = python.run("1")
    assert (r.restarted, r.lost, r.ended, r.text) == (False, "", "", "1")


@pytest.mark.parametrize(
    ("code", "verdict", "why"),
    [("import os; print('said', flush=True); os._exit(3)", Verdict.RUNTIME_ERROR, "it exited with 3"),
     ("import os; print('said', flush=True); os._exit(0)", Verdict.RUNTIME_ERROR, "it exited with 0"),
     ("import os; print('said', flush=True); os.kill(os.getpid(), 9)", Verdict.SIGNALED, "signal 9 ended it"),
     ("import ctypes; print('said', flush=True); ctypes.string_at(0)", Verdict.SIGNALED, "signal 11 ended it"),
     ("import os; print('said', flush=True); os.closerange(0, 256)", Verdict.RUNTIME_ERROR, CLOSED),
     ("import os; print('said', flush=True); os.closerange(3, 256)", Verdict.RUNTIME_ERROR, CLOSED),
     ("import os, time; print('said', flush=True); os.closerange(3, 256); time.sleep(60)", Verdict.RUNTIME_ERROR, "it closed its channel: it had to be killed"),
     ("import os; print('said', flush=True); os.dup2(2, 3)", Verdict.RUNTIME_ERROR, None)],
)  # fmt: skip
def test_the_end_of_its_process_is_told(python, code, verdict, why):
    python.run("x = 1")
    r = python.run(code, timeout=10 * SLOW)
    assert r.verdict is verdict and r.error.name == "InterpreterEnded" and r.error.value == r.ended, r
    assert "".join(r.logs.stdout) == "said\n" and r.usage.cpu_time is not None and not r.interrupted
    assert why in (None, r.ended)
    after(python, r.ended)


@pytest.mark.parametrize(
    "code",
    ["import os\nfor fd in range(256):\n    try: os.write(fd, b'garbage, ' * 99)\n    except OSError: pass",
     "import os; os.write(3, b'\\0' * 20)",
     "import os; os.write(3, b'\\xff' * 20)",
     # a message of the very cell that runs, found in the driver's own memory
     "import sys, os\nc = sys.displayhook.__self__.send.__self__\nos.write(c.fd, b'\\0\\0\\0\\2' + c.nonce + b'[]')",
     "import sys\nc = sys.displayhook.__self__.send.__self__\nc.send({'type': 'result', 'main': True, 'data': {'image/png': 'x'}, 'cut': {}})",
     "import sys\nc = sys.displayhook.__self__.send.__self__\nc.send({'type': 'begun'})",
     "import sys\ns = sys.displayhook.__self__\ns.left = s.most = 1 << 60\nfor i in range(30): display('x' * 1_000_000)",
     "import sys\ns = sys.displayhook.__self__\ns.left = s.most = 1 << 60\ndisplay('x' * 20_000_000)"],
)  # fmt: skip
def test_a_broken_message_ends_it_as_forged(python, code):
    python.run("x = 1")
    r = python.run(code, timeout=10 * SLOW)
    assert (r.verdict, r.error.name) == (Verdict.RUNTIME_ERROR, "InterpreterEnded") and r.ended.startswith(
        "forged: "
    ), r
    after(python, r.ended)


def test_an_end_that_is_told_twice_or_between_cells_is_forged(python):
    forge = "import sys\nc = sys.displayhook.__self__.send.__self__\nc.send({'type': 'done', 'error': None, 'dropped': [0, 0], 'signalled': False})"
    assert python.run(forge).ok  # its own word: it says that it is done
    time.sleep(0.2 * SLOW)
    after(python, "forged: it spoke while no cell ran")


def test_one_that_dies_between_cells_is_told_by_the_next(python):
    python.run("import threading, os, time\nthreading.Thread(target=lambda: (time.sleep(0.1), os._exit(7))).start()")
    time.sleep(0.5 * SLOW)
    after(python, "it exited with 7")


def test_the_memory_limit_is_told_and_state_is_lost():
    with Interpreter(limits=Limits(cpu_time=None, wall_time=None, memory="64M")) as python:
        python.run("x = 1")
        r = python.run("b = b'x' * (1 << 28)")
        assert (r.verdict, r.ended) == (Verdict.MEMORY, f"memory: it met its limit, {64 << 20} bytes")
        after(python, r.ended)


@pytest.mark.parametrize(
    ("limits", "code", "verdict", "why"),
    [(Limits(cpu_time=0.5 * SLOW, wall_time=None), "while True: pass", Verdict.CPU_TIME, "cpu_time: it met its limit, {:g} s for its whole life"),
     (Limits(cpu_time=None, wall_time=0.5 * SLOW), "import time; time.sleep(60)", Verdict.WALL_TIME, "wall_time: it met its limit, {:g} s for its whole life")],
)  # fmt: skip
def test_limits_of_time_are_of_the_whole_life(limits, code, verdict, why):
    with Interpreter(limits=limits) as python:
        r = python.run(code)
        assert (r.verdict, r.ended) == (verdict, why.format(0.5 * SLOW)) and not r.interrupted


def test_a_fork_bomb_meets_the_limit_and_ends_with_its_cell():
    limits = Limits(cpu_time=None, wall_time=None, processes=16)
    with Interpreter(limits=limits, timeout=5 * SLOW) as python:
        python.run("x = 1")
        r = python.run("import os\nwhile True: os.fork()")
        assert r.error.name in ("BlockingIOError", "KeyboardInterrupt", "InterpreterEnded"), r
        r = python.run("x")
        assert r.text == "1" or r.restarted
        python.restart()
        assert python.run("import subprocess; subprocess.run(['true']).returncode").text == "0"


def test_a_python_that_is_not_there_is_an_error_of_the_callers():
    with Interpreter(python="/nowhere/python") as python, pytest.raises(ExecError):
        python.run("1")


def test_a_closed_one_says_so(nothing_left):
    with Interpreter() as python:
        assert python.run("1").text == "1"
    python.close()
    for call in (lambda: python.run("1"), python.start, python.create_context, lambda: python.box):
        with pytest.raises(KeeperError, match="closed"):
            call()


def test_nothing_is_left_of_one_that_nobody_has_closed(nothing_left):
    python = pyjail.Interpreter()
    python.run("import os; os.fork() or __import__('time').sleep(100)")
    del python
    gc.collect()


HOLD = """
import array, os, socket, stat, time
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind("/box/door")
    listening.listen()
    print("ready", flush=True)
    held = socket.recv_fds(listening.accept()[0], 1, 64)
time.sleep(600)
"""
GIVE = """
import os, socket, stat, time
ours = [fd for fd in range(64) if os.path.exists(f"/proc/self/fd/{fd}") and stat.S_ISSOCK(os.stat(fd).st_mode)]
door = socket.socket(socket.AF_UNIX)
door.connect("/box/door")
socket.send_fds(door, [b"x"], ours)
time.sleep(0.2)
os._exit(3)
"""


def test_the_end_is_told_when_another_program_of_the_box_holds_the_channel():
    with (
        Interpreter() as python,
        python.box.start(["python3", "-c", HOLD], stdout=pyjail.PIPE) as other,
    ):
        assert other.stdout.readline() == b"ready\n"
        assert python.run(GIVE, timeout=None).ended == "it exited with 3"
        assert python.run("1 + 1").text == "2"
        other.kill()
