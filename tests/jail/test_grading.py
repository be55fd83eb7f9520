"""Grading, with both jails: what passes, what each other completion comes to, and that nothing is left behind."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Limits, Verdict
from pyjail.grading import Case, check_correctness, check_function, run_tests
from tests.conftest import SLOW
from tests.jail.tasks import TASKS
from tests.scripts import PRELUDE, script

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 10 * SLOW


def check(completion: str, test: str = "assert f(1) == 1\n", timeout: float = PATIENCE, **kw):
    problem = {"task_id": "t", "prompt": "", "entry_point": "f", "test": test}
    return check_correctness(problem, completion, timeout, **kw)


@pytest.fixture
def nothing_left():
    """No fd and no thread more than before."""
    check("f = abs")
    pyjail.close()
    before = set(os.listdir("/proc/self/fd")), threading.active_count()
    yield
    pyjail.close()
    assert (set(os.listdir("/proc/self/fd")), threading.active_count()) == before


@pytest.mark.parametrize("name", TASKS)
def test_the_right_completion_passes_and_the_wrong_one_does_not(name):
    problem = TASKS[name]
    right = check_correctness(problem, problem["solution"], PATIENCE, completion_id=7)
    assert right.reason == "passed", right
    assert right.to_dict() == {"task_id": f"ours/{name}", "passed": True, "result": "passed", "completion_id": 7}
    assert (right.candidate.verdict, right.checker.verdict) == (Verdict.OK, Verdict.OK)
    wrong = check_correctness(problem, problem["wrong"], PATIENCE)
    assert not wrong.passed and wrong.status == "failed"


def test_there_are_at_least_fifty_tasks():
    assert len(TASKS) >= 50


PIPES_HELD = """
import os
def pipes():
    found = {}
    for n in range(64):
        try:
            found[n] = os.readlink(f"/proc/self/fd/{n}")
        except OSError:
            pass
    return {n: link for n, link in found.items() if link.startswith("pipe:")}
"""


def test_the_candidate_holds_neither_the_report_s_fd_nor_the_tests():
    r = check(
        PIPES_HELD + "import glob\ndef f(x): return list(pipes().values()), glob.glob('/box/**', recursive=True)\n",
        PIPES_HELD
        + """
theirs, files = f(1)
mine = pipes().values()
print(theirs, mine, files)
assert len(set(theirs)) == 3 and len(mine) == 3  # requests, answers, and the own stderr or report
assert len(set(theirs) & set(mine)) == 2
assert "/box/pyjail_grading/job" not in files and os.path.exists("/box/pyjail_grading/job")
""",
    )
    assert r.passed, (r.reason, r.printed)


def test_prints_reads_and_whatever_else_go_nowhere_near_the_channel():
    r = check(
        """
import os, sys, subprocess
def f(x):
    print("passed"); sys.stdout.write("x"); os.write(1, b"y"); os.write(2, b"z")
    subprocess.run(["echo", "w"])
    assert sys.stdin.read() == "" and os.read(0, 9) == b""
    return x
""",
        "print('from the tests'); import os; os.write(1, b'no'); os.write(2, b'no')\nassert f(1) == 1; assert f(2) == 2\n",
    )
    assert r.passed, r
    assert all(r.candidate.stderr.count(c) >= 2 for c in (b"passed", b"y", b"z", b"w"))
    assert r.printed == "from the tests\n"


def test_correct_completions_that_look_odd_pass():
    for completion in (
        "import threading\ndef f(x):\n    threading.Thread(target=lambda: None).start()\n    return x\n",
        "import atexit, os\natexit.register(os._exit, 3)\ndef f(x): return x\n",
        "import sys\nsys.setrecursionlimit(99999)\ndef f(x): return x if x < 2 else f(x - 1)\n",
        "class C:\n    def __call__(self, x): return x\nf = C()\n",
        "class C:\n    def __init__(self): self.x = 1\n    def f(self, x): return x\nf = C().f\n",
        "from functools import cache\n@cache\ndef f(x): return x\n",
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(x): return P(x).x\n",
        "import os\ndef f(x):\n    pid = os.fork()\n    if not pid: os._exit(0)\n    os.waitpid(pid, 0)\n    return x\n",
        "if __name__ == '__main__':\n    raise SystemExit\nf = lambda x: x\n",
        "import gc\nf = lambda x: x\nprint(len(gc.get_objects()))\n",
    ):
        assert check(completion).reason == "passed", completion


def test_tests_see_values_of_their_own_kinds():
    r = check(
        """
from collections import namedtuple, OrderedDict
from enum import IntEnum
def f(what):
    class E(IntEnum):
        A = 3
    return {"point": namedtuple("P", "x y")(1, 2), "dict": OrderedDict(a=1), "enum": E.A, "bool": True, "range": range(3),
        "frozen": frozenset({1}), "bytes": bytearray(b"x"), "zip": zip("ab", [1, 2]), "keys": {3: 4}.keys(),
        "nested": [map(str, [1]), (i for i in "xy")], "minus zero": -0.0, "big": 1 << 99999}[what]
""",
        """
assert f("point") == (1, 2) and type(f("point")) is tuple
assert type(f("dict")) is dict and f("enum") == 3 and type(f("enum")) is int and f("bool") is True
assert f("range") == range(3) and f("frozen") == frozenset({1}) and type(f("bytes")) is bytearray
assert f("zip") == [("a", 1), ("b", 2)] and list(f("keys")) == [3] and f("nested") == [["1"], ["x", "y"]]
assert str(f("minus zero")) == "-0.0" and f("big") == 1 << 99999
""",
    )
    assert r.passed, r.reason


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("f = 1", "failed: there is no function named 'f'"),
        ("def f(x): return 2", "failed: AssertionError at line 1: assert f(1) == 1"),
        (
            "def f(x): return x.y",
            "failed: AttributeError: 'int' object has no attribute 'y' at line 1: assert f(1) == 1",
        ),
        ("import nothing", "failed: the submission cannot be loaded: ModuleNotFoundError: No module named 'nothing'"),
        ("def f(x): return f", "refused: it returned, or left in an argument, a function (f); plain data is needed"),
        ("import os\ndef f(x): os.abort()", "crashed: killed by signal 6, before it had answered"),
        ("def f(x): exit(0)", "crashed: SystemExit: 0"),
        ("import os\ndef f(x): os._exit(4)", "crashed: it exited with 4, before it had answered"),
    ],
)
def test_reasons(completion, reason, nothing_left):
    assert check(completion).reason == reason


@pytest.mark.needs_cgroups
def test_limits_are_reasons():
    assert check("def f(x): return len([0] * (1 << 30))").reason == "crashed: out of memory, before it had answered"
    r = check("def f(x):\n    while True: pass", timeout=60, limits=Limits(cpu_time=0.3))
    assert (r.reason, r.candidate.verdict) == ("timed out", Verdict.CPU_TIME)


def test_time_is_the_jail_s(nothing_left):
    r = check("import time\ndef f(x): time.sleep(600)", timeout=0.5 * SLOW)
    assert (r.reason, r.candidate.verdict, r.checker.verdict) == ("timed out", Verdict.WALL_TIME, Verdict.OK)


def test_strict_filter_and_other_limits_reach_the_candidate():
    r = check("import resource\ndef f(x): return resource.getrlimit(resource.RLIMIT_NOFILE)[0]",
              "assert f(1) == 77", limits=Limits(open_files=77))  # fmt: skip
    assert r.passed, r.reason
    r = check(
        "import os\ndef f(x): return os.uname().nodename", "assert f(1) == 'theirs'", jail=Jail(hostname="theirs")
    )
    assert r.passed, r.reason


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("def check(candidate): assert", "broken: the tests: SyntaxError"),
        ("def check(candidate): pass", "broken: the tests never call 'f'"),
        ("def check(candidate): candidate(lambda: 0)", "broken: the tests call with a function (<lambda>)"),
        ("def check(candidate): raise SystemExit(0)", "failed: SystemExit: 0"),
        (
            "def check(candidate):\n    candidate(1)\n    import os; os._exit(0)",
            "broken: the checker ended without a report",
        ),
    ],
)
def test_broken_tests_pass_nobody(test, reason):
    r = check("def f(x): return x", test)
    assert not r.passed and r.reason.startswith(reason)


def test_tests_that_take_too_long():
    r = check("def f(x): return x", "f(1)\nwhile True: pass", checker_limits=Limits(wall_time=1 * SLOW, cpu_time=None))
    assert not r.passed and r.reason == "timed out: the tests themselves took too long"


def test_an_except_in_the_tests_does_not_hide_a_crash_or_a_forgery():
    test = "try:\n    f(1)\nexcept BaseException:\n    pass\n"
    assert check("def f(x): raise ValueError", test).passed
    for body, status in (
        ("import os; os._exit(0)", "crashed"),
        ("raise SystemExit", "crashed"),
        ("return object()", "refused"),
        ("import os; os.write(4, b'x' * 999)", "forged"),
    ):
        assert check(f"def f(x): {body}", test).status in (status, "crashed")


def test_an_answer_too_many_is_forged_though_it_is_right():
    r = check(
        """
import sys
from pyjail_grading.encoding import encode
from pyjail_grading.frames import send
def f(x):
    frame = sys._getframe()
    while "nonce" not in frame.f_locals:
        frame = frame.f_back
    send(frame.f_locals["answers"], frame.f_locals["nonce"], encode(("value", x, None)))
    return x
""",
        "assert f(1) == 1\nassert f(2) == 2\n",
    )
    assert r.reason == "forged: not the driver's answer: it answers another question than was asked"


def test_an_interrupt_ends_both_jails():
    done = script(f"""
        import os, signal, threading
        import pyjail
        from pyjail.grading import check_function
        check_function("def f(): pass", "f", [((), None)])
        pyjail.close()
        before = set(os.listdir("/proc/self/fd"))
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            check_function("import time; f = lambda: time.sleep(600)", "f", [((), 1)], {1.5 * SLOW})
        except KeyboardInterrupt:
            pyjail.close()
            print(set(os.listdir("/proc/self/fd")) == before, threading.active_count())
    """)
    assert done.stdout == "True 1\n", done.stderr


def test_tests_with_threads_get_each_their_answer():
    r = check("def f(x): return x", """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    assert list(pool.map(f, range(200))) == list(range(200))
""")  # fmt: skip
    assert r.passed, r.reason


def test_packages_are_there_when_they_are_asked_for():
    completion = "import numpy\ndef f(x): return float(numpy.mean([x, 3])), numpy.float64(x)\n"
    missing = "failed: the submission cannot be loaded: ModuleNotFoundError: No module named 'numpy'"
    assert check(completion).reason == missing
    test = "import numpy\nassert numpy.isclose(f(1)[0], 2) and type(f(1)[1]) is float"
    r = check(completion, test, 6 * PATIENCE, packages=True)
    assert r.passed, (r.reason, r.candidate.stderr)


def test_many_checks_at_once(nothing_left):
    def one(n: int) -> bool:
        return check(f"def f(x): return {n}", f"assert f(1) == {n - n % 2}").passed

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(12))) == [n % 2 == 0 for n in range(12)]


def test_a_jail_that_cannot_be_made_is_raised_and_leaves_nothing(nothing_left):
    for kw in ({"jail": Jail(rootfs="/nowhere")}, {"checker_jail": Jail(rootfs="/nowhere")}, {"python": "/no/python"}):
        with pytest.raises((pyjail.JailError, OSError)):
            check("def f(x): return x", timeout=PATIENCE, **kw)


def test_cases_have_each_their_verdict():
    source = """
import os
class Odd(ValueError): pass
def f(x, *, by=1):
    if x == "exit": os._exit(0)
    if x == "odd": raise Odd("odd")
    if x == "loop":
        while True: pass
    if x == "list": return iter([1, 2])
    if isinstance(x, list): x.append(by); return None
    return x * by
"""
    cases = [
        ((2,), 2),
        ((2,), 3),
        Case((2,), 6, {"by": 3}),
        Case(("exit",), 0),
        ((float("nan"),), float("nan")),
        Case(("odd",), raises="Odd"),
        Case(("odd",), raises="ValueError"),
        Case(("odd",), raises="KeyError"),
        Case((1,), raises="ValueError"),
        (("loop",), 1),
        (("list",), [1, 2]),
        Case(([1],), None, {"by": 5}, arguments=([1, 5],)),
        Case(([1],), None, {"by": 5}, arguments=([1],)),
        ((0.1,), 0.1),
    ]
    report = check_function(source, "f", cases, 1.5 * SLOW)
    assert [r.reason for r in report.results] == [
        "passed",
        "failed: another result than expected",
        "passed",
        "crashed: it exited with 0, before it had answered",
        "passed",
        "passed",
        "passed",
        "failed: it raised Odd: odd",
        "failed: it returned instead of raising ValueError",
        "timed out",
        "passed",
        "passed",
        "failed: it left its arguments otherwise than expected",
        "passed",
    ]
    assert not report.passed and report.results[1].value == 2 and report.results[10].value == [1, 2]
    assert check_function(source, "f", cases[:1]).passed
    assert not check_function(source, "f", []).passed


def test_no_case_pays_for_the_ones_before():
    leak = "kept = []\ndef f(x):\n    kept.append(x)\n    if len(kept) > 2: raise SystemExit\n    return x\n"
    assert check_function(leak, "f", [((n,), n) for n in range(7)], PATIENCE).passed
    count = "n = 0\ndef f():\n    global n\n    n += 1\n    return n\n"
    assert check_function(count, "f", [((), 1), ((), 2)], PATIENCE).passed
    assert check_function(count, "f", [((), 1), ((), 1)], PATIENCE, isolate=True).passed
    bad = check_function("def f(:", "f", [((), 1), ((), 2)], PATIENCE)
    assert len(bad.results) == 2 and all("SyntaxError" in r.reason for r in bad.results)
    assert bad.results[0].candidate is bad.results[1].candidate


FILES = {
    "solution.py": """
from helpers import double
LIMITS = (1, 10)
class TooMuch(ValueError): pass
def scale(x):
    if x > LIMITS[1]: raise TooMuch(x)
    return double(x)
def fill(items): items.extend(LIMITS)
class Thing: pass
""",
    "helpers.py": "def double(x): return 2 * x\n",
    "pkg/__init__.py": "",
    "pkg/util.py": "def name(): return __name__\n",
    # none of these is ever looked at by the tests' process
    "conftest.py": "import os; os._exit(0)",
    "sitecustomize.py": "import os; os._exit(0)",
    "unittest.py": "import os; os._exit(0)",
    "pytest.py": "import os; os._exit(0)",
    "tests/test_it.py": "def test(): pass",
}
TESTS = {
    "test_it.py": """
import unittest
import pkg.util
from solution import LIMITS, TooMuch, fill, scale
class T(unittest.TestCase):
    def setUp(self): self.items = [0]
    def test_scale(self):
        for x in range(3):
            with self.subTest(x=x): self.assertEqual(scale(x), 2 * x)
        with self.assertRaisesRegex(TooMuch, "11"): scale(11)
        with self.assertRaises(ValueError): scale(11)
    def test_fill(self):
        fill(self.items); self.assertEqual(self.items, [0, *LIMITS])
    @unittest.expectedFailure
    def test_odd(self): self.assertEqual(scale(1), 3)
    @unittest.skip("not now")
    def test_skipped(self): raise AssertionError
def test_name(): assert pkg.util.name() == "pkg.util"
"""
}


def test_a_test_file_runs_where_the_submission_is_not():
    r = run_tests(FILES, TESTS, ["solution", "pkg.util"], PATIENCE)
    assert r.passed, (r.reason, r.tests)
    assert sorted((t.name, t.status) for t in r.tests) == [
        ("test_it.T.test_fill", "passed"),
        ("test_it.T.test_odd", "passed"),
        ("test_it.T.test_scale", "passed"),
        ("test_it.T.test_skipped", "skipped"),
        ("test_name", "passed"),
    ]


@pytest.mark.parametrize(
    ("files", "tests", "reason"),
    [
        ({"s.py": "def f(): return 2"}, "from s import f\ndef test(): assert f() == 1", "failed: 1 of 1 tests: test: AssertionError"),
        ({"s.py": "def g(): pass"}, "from s import f\ndef test(): pass", "failed: /box/tests/test_s.py cannot be imported: ImportError"),
        ({"s.py": "def f(:"}, "from s import f\ndef test(): pass", "failed: the submission cannot be loaded: SyntaxError"),
        ({"s.py": "class C: pass"}, "from s import C\ndef test(): C()", "refused: it returned, or left in an argument, a C"),
        ({"s.py": "import unittest\ndef f(): raise unittest.SkipTest"}, "from s import f\ndef test(): f()", "failed: 1 of 1"),
        ({"s.py": "import os\nos._exit(0)"}, "from s import f\ndef test(): f()", "crashed: it exited with 0"),
        ({"s.py": "x = None"}, "from s import x\ndef test(): assert x is None", "passed"),
        ({"s.py": "x = 1"}, "from s import x", "broken: there is no test that ran"),
        ({"s.py": "x = 1"}, "import unittest\n@unittest.skip('')\nclass T(unittest.TestCase):\n    def test(self): pass", "broken: there"),
        ({"s.py": "import unittest as x"}, "from s import x\ndef test(): x.TestCase()", "refused: "),
    ],
)  # fmt: skip
def test_test_files_that_do_not_pass(files, tests, reason):
    r = run_tests(files, {"test_s.py": tests}, ["s"], PATIENCE)
    assert r.reason.startswith(reason), r.reason
    assert r.passed == (reason == "passed")


@pytest.mark.timeout(300)
def test_with_pytest():
    tests = """
import pytest
from solution import TooMuch, scale
@pytest.fixture
def two(): return 2
@pytest.mark.parametrize("x", [1, 5])
def test_scale(x, two): assert scale(x) == x * two
def test_raises():
    with pytest.raises(TooMuch): scale(99)
def test_wrong(): assert scale(1) == pytest.approx(2.5)
"""
    r = run_tests(
        FILES,
        {"test_p.py": tests, "conftest.py": "collect_ignore = []"},
        ["solution"],
        6 * PATIENCE,
        framework="pytest",
    )
    if r.reason.startswith("broken: pytest is not"):
        pytest.skip("pytest is missing: install it to test its programs")
    assert r.reason.startswith("failed: 1 of 4 tests: test_p.py::test_wrong"), r.reason
    assert [t.status for t in r.tests] == ["passed", "passed", "passed", "failed"]


@pytest.mark.parametrize("name", ["_correctness", "_files", "_function", "inside.encoding"])
def test_the_examples_in_docstrings_run(name):
    found = doctest.testmod(importlib.import_module(f"pyjail.grading.{name}"))
    assert found.attempted and not found.failed


def test_the_page_s_snippets_run():
    page = (ROOT / "docs/grading.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(snippets) >= 3
    for code in snippets:
        done = script(code, cwd=ROOT)
        assert done.returncode == 0, (code, done.stderr)


def test_the_example_runs():
    code = f"{PRELUDE}import runpy, sys\nsys.argv[1:] = ['--timeout', '{3 * SLOW}']\nrunpy.run_path('examples/humaneval.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=100 * SLOW)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("pass@1: 0.375\n")
