"""`run_tests`: test files run where the submission is not."""

from __future__ import annotations

import pytest

import pyjail
from pyjail.grading import run_tests
from tests.jail.grading.checks import PATIENCE

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


SUBMISSION = {
    "s.py": "def f(x): return 'wrong'\nclass Foo(Exception): pass\ndef g(x): raise Foo\ndef test_theirs(): assert False\n"
}
UNSOUND = {
    "a coroutine": "async def test_a(): assert f(2) == 4",
    "a generator": "def test_a():\n    assert f(2) == 4\n    yield",
    "an asynchronous generator": "async def test_a():\n    assert f(2) == 4\n    yield",
    "returns a coroutine": "async def a(): assert f(2) == 4\ndef test_a(): return a()",
    "returns what it should assert": "def test_a(): return f(2) == 4",
    "a coroutine in a case": "class T(unittest.TestCase):\n    async def test_a(self): self.assertEqual(f(2), 4)",
    "a generator in a case": "class T(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(f(2), 4); yield",
    "returns in a case": "class T(unittest.TestCase):\n    def test_a(self): return f(2) == 4",
    "setUp is a coroutine": "class T(unittest.TestCase):\n    async def setUp(self): assert f(2) == 4\n    def test_a(self): pass",
    "a class without TestCase": "class TestX:\n    def test_a(self): assert f(2) == 4\ndef test_b(): pass",
    "no function": "import functools\ntest_a = functools.partial(f, 2)\ndef test_b(): pass",
    "returns in an asynchronous case": "class T(unittest.IsolatedAsyncioTestCase):\n    async def test_a(self): return f(2) == 4",
    "a generator in an asynchronous case": "class T(unittest.IsolatedAsyncioTestCase):\n    async def test_a(self):\n        assert f(2) == 4; yield",
}  # fmt: skip


@pytest.mark.parametrize("name", UNSOUND)
def test_tests_that_would_pass_without_being_run_are_broken(name):
    r = run_tests(SUBMISSION, {"test_s.py": f"import unittest\nfrom s import f\n{UNSOUND[name]}\n"}, ["s"], PATIENCE)
    assert not r.passed and r.reason.startswith("broken: the tests: "), r.reason


def test_tests_that_run_are_run_whatever_their_form():
    tests = """
import functools, unittest
from s import f, g, test_theirs
class TestData: answer = "wrong"
class TestMixin:
    def test_mixed(self): self.assertEqual(f(2), TestData.answer)
class T(TestMixin, unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self): self.answer = f(1)
    async def test_awaited(self): self.assertEqual(self.answer, "wrong")
    @unittest.expectedFailure
    async def test_fails(self): self.assertEqual(f(2), 4)
    @unittest.skip("later")
    def test_skipped(self): raise AssertionError
test_lambda = lambda: None
"""
    r = run_tests(SUBMISSION, {"test_s.py": tests}, ["s"], PATIENCE)
    assert r.passed, (r.reason, r.tests)
    assert sorted(t.name.rpartition(".")[2] for t in r.tests) == [
        "test_awaited",
        "test_fails",
        "test_lambda",
        "test_mixed",
        "test_skipped",
    ]
    wrong = "import unittest\nfrom s import f\nclass T(unittest.IsolatedAsyncioTestCase):\n    async def test_a(self): self.assertEqual(f(2), 4)\n"
    assert run_tests(SUBMISSION, {"test_s.py": wrong}, ["s"], PATIENCE).reason.startswith("failed: 1 of 1")


@pytest.mark.parametrize("kind", ["RuntimeError", "ValueError", "StopIteration", "TypeError", "KeyError"])
def test_an_exception_of_the_submission_s_own_is_none_of_python_s(kind):
    tests = f"import unittest\nfrom s import g\nclass T(unittest.TestCase):\n def test_a(self):\n  with self.assertRaises({kind}): g(1)\n"
    for raised in ("Foo", "StopIteration", "ExceptionGroup('x', [Foo()])"):
        files = {"s.py": f"class Foo(Exception): pass\ndef g(x): raise {raised}\n"}
        r = run_tests(files, {"test_s.py": tests}, ["s"], PATIENCE)
        assert r.reason.startswith("failed: 1 of 1"), (raised, r.reason)


def test_a_module_that_python_has_in_use_is_not_taken_for_the_submission_s():
    r = run_tests(
        {"struct.py": "def f(): return 1"}, {"test_s.py": "from struct import f\ndef test(): f()"}, ["struct"], PATIENCE
    )
    assert r.reason == "broken: the tests cannot import struct of the submission: Python's own is in use"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name", ["a coroutine", "a generator", "returns a coroutine", "returns what it should assert", "no function"]
)
def test_with_pytest_they_do_not_pass_either(name):
    tests = {"test_p.py": f"import unittest\nfrom s import f\n{UNSOUND[name]}\ndef test_fine(): pass\n"}
    r = run_tests(SUBMISSION, tests, ["s"], 6 * PATIENCE, framework="pytest")
    if r.reason.startswith("broken: pytest is not"):
        pytest.skip("pytest is missing: install it to test its programs")
    assert not r.passed, (r.reason, r.tests)


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({"../s.py": ""}, "refused"), ({"/s.py": ""}, "refused"), ({"s\0.py": ""}, "refused"), ({"s" * 300: ""}, "refused"),
        ({"s.py": "", "s.py/x": ""}, "refused"), ({"s.py": "", "./s.py": ""}, "refused"), ({"s.py": "\ud800"}, "refused"),
        ({"\ud800": ""}, "refused"), ({"s.py": "", "data": b"x" * (20 << 20)}, "refused"), ({"pyjail_grading": ""}, "refused"),
        ({"s.py": "def f(): return 1", "pyjail_grading/candidate.py": "raise SystemExit", "pyjail_grading/x.py": ""}, "passed"),
        ({}, "failed"), ({"s.py": "#" * (5 << 20)}, "failed"),
    ],
    ids=range(13),
)  # fmt: skip
def test_whatever_a_submission_s_files_are_called_is_no_exception_of_the_caller_s(files, status, nothing_left):
    r = run_tests(files, {"test_s.py": "from s import f\ndef test(): assert f() == 1\n"}, ["s"], PATIENCE)
    assert r.reason.partition(":")[0] == status, r.reason


def test_what_the_caller_has_given_wrong_is_his():
    tests = {"test_s.py": "from s import f\ndef test(): assert f() == 1\n"}
    with pytest.raises(pyjail.SetupError):
        run_tests({"s.py": ""}, tests, ["s"], PATIENCE, limits=pyjail.Limits(disk="4K"))
    with pytest.raises(pyjail.SpecError):
        run_tests({"s.py": ""}, tests, ["s"], PATIENCE, jail=pyjail.Jail(mounts=(pyjail.Mount.bind("/usr", "/box"),)))
