"""`check_correctness`, with both jails: what passes, what each other completion comes to, and that nothing is left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import pyjail
from pyjail import Jail, Limits, Verdict
from pyjail.grading import check_correctness
from tests.conftest import SLOW
from tests.jail.grading.checks import PATIENCE, check
from tests.jail.grading.tasks import TASKS
from tests.scripts import script


@pytest.mark.parametrize("name", TASKS)
def test_the_right_completion_passes_and_the_wrong_one_does_not(name):
    problem = TASKS[name]
    right = check_correctness(problem, problem["solution"], PATIENCE, completion_id=7)
    assert right.reason == "passed", right
    record = {"task_id": f"ours/{name}", "passed": True, "result": "passed", "completion_id": 7}
    assert record.items() <= {**right.to_dict(), "candidate": None, "checker": None}.items()
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
assert list(f("zip")) == [("a", 1), ("b", 2)] and f("keys") == {3} and list(map(list, f("nested"))) == [["1"], ["x", "y"]]
assert str(f("minus zero")) == "-0.0" and f("big") == 1 << 99999
""",
    )
    assert r.passed, r.reason


@pytest.mark.parametrize(
    "body",
    ["map(abs, x)", "(n for n in x)", "iter(x)", "dict.fromkeys(x).keys()", "dict(enumerate(x)).values()", "zip(x)"],
)
def test_an_iterator_is_no_list(body):
    """As where the function is called in the tests' own process."""
    assert check(f"def f(x): return {body}", "assert f([1, 2]) == [1, 2]").status == "failed"
    assert check(f"def f(x): return [{body}]", "assert f([1, 2]) == [[1, 2]]").status == "failed"


def test_numbers_of_the_library_compare_as_numbers():
    completion = """
from decimal import Decimal
from fractions import Fraction
def f(x): return {"d": Decimal("0.5"), "f": Fraction(1, 3), "many": [Fraction(6, 3), Decimal(2)]}[x]
"""
    test = """
from fractions import Fraction
assert f("d") == 0.5 and f("f") == Fraction(1, 3) and f("many") == [2, 2] and 3 * f("f") == 1
"""
    assert check(completion, test).reason == "passed"
    assert check("def f(x): return x * 2", "from decimal import Decimal\nassert f(Decimal(1)) == 2").passed


@pytest.mark.parametrize("name", ["check", "candidate", "test", "main", "submission", "exit", "print", "len", "f"])
def test_no_name_of_a_function_is_special(name):
    problem = {"task_id": 1, "prompt": f"def {name}(x):\n", "entry_point": name}
    bare, called = f"assert {name}(2) == 4\n", "def check(candidate):\n    assert candidate(2) == 4\n"
    for test in (bare, called):
        for body, passes in (("x * 2", True), ("x", False)):
            r = check_correctness({**problem, "test": test}, f"    return {body}\n", PATIENCE)
            assert (r.passed, r.status) == (passes, "passed" if passes else "failed"), r.reason


def test_a_helper_of_the_prompt_may_be_called_check():
    prompt = "def check(x):\n    return x > 0\n\ndef f(x):\n"
    problem = {"task_id": 1, "prompt": prompt, "entry_point": "f", "test": "assert check(f(2))\n"}
    assert check_correctness(problem, "    return 2 * x\n", PATIENCE).reason == "passed"


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


@pytest.mark.parametrize(
    "completion", ["#" * (5 << 20), "\0", "\ud800", "(" * 100_000, "", "\x0c", "\ufeff", "f = " + "-" * 100_000 + "1"]
)
def test_any_completion_is_judged(completion):
    r = check(completion)
    assert not r.passed and r.status in ("failed", "crashed"), r.reason
    assert "\n" not in r.reason and repr(r)
