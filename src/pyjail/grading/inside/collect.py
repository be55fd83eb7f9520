"""The tests of a file for unittest; a file that has some which would pass whatever they test is told to be broken."""

from __future__ import annotations

import sys
import unittest
from functools import wraps
from importlib.util import module_from_spec, spec_from_file_location

from .problem import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

    from .report import Reporter

_UNREAD = {0x20: "a generator", 0x80: "a coroutine", 0x200: "an asynchronous generator"}  # flags of its code
_COROUTINE = 0x80
_FIXTURES = ("setUp", "tearDown", "setUpClass", "tearDownClass")
_FUNCTION = type(lambda: 0)


def collect(path: str, directory: str, reporter: Reporter) -> unittest.TestSuite:
    """The test cases of a file, and its functions that begin with "test"."""
    name = path.rpartition("/")[2].removesuffix(".py")
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        reporter.finish("broken", f"{path} is no Python file")
    module: ModuleType = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        with open(path, encoding="utf-8", errors="replace") as f:
            reporter.finish("failed", f"{path} cannot be imported: {explain(e, f.read(), path)}")
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    for test in leaves(suite):
        check_case(test, reporter)
    for attribute, value in vars(module).items():
        if attribute.startswith(("test", "Test")) and (
            ours(value, directory) or not isinstance(value, (type, _FUNCTION))
        ):
            add(suite, attribute, value, module, reporter)
    return suite


def leaves(suite: Any) -> Iterator[Any]:
    """Its test cases, without the suites within."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from leaves(test)
        else:
            yield test


def ours(value: Any, directory: str) -> bool:
    """Whether this was made in a file of the tests: nothing of the submission's, nor of a library's, is a test."""
    file = getattr(sys.modules.get(getattr(value, "__module__", "")), "__file__", None)
    return isinstance(file, str) and file.startswith(directory + "/")


def add(suite: unittest.TestSuite, attribute: str, value: Any, module: ModuleType, reporter: Reporter) -> None:
    """A test that is no `unittest.TestCase`; of what looks like one, and would be left out, the author is told."""
    if isinstance(value, type):
        tests = [name for name in dir(value) if name.startswith("test") and callable(getattr(value, name))]
        cases = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, unittest.TestCase)]
        if tests and not any(issubclass(case, value) for case in cases):
            reporter.finish("broken", f"the tests: {attribute} has {tests[0]} and is no unittest.TestCase: never run")
    elif isinstance(value, _FUNCTION):
        if not attribute.startswith("test"):
            return
        if what := unread(value):
            reporter.finish("broken", f"the tests: {attribute} is {what}: it would pass without being run")
        value.__name__ = attribute
        suite.addTest(unittest.FunctionTestCase(checked(value, attribute, reporter)))
    elif callable(value) and attribute.startswith("test"):
        reporter.finish("broken", f"the tests: {attribute} is no function: it would never be run")


def check_case(test: Any, reporter: Reporter) -> None:
    """Nothing of this test case may pass without being run to its end."""
    name = test._testMethodName
    awaits = _awaits(test)
    for part in (name, *_FIXTURES):
        what = unread(getattr(test, part, None))
        if what and not (part == name and awaits and unread(getattr(test, part), _COROUTINE)):
            where = f"{type(test).__name__}.{part}"
            reporter.finish("broken", f"the tests: {where} is {what}: it would pass without being run")
    method = getattr(test, name)
    if awaits and unread(method, _COROUTINE):
        setattr(test, name, awaited(method, test.id(), reporter))
    else:
        setattr(test, name, checked(method, test.id(), reporter))


def _awaits(test: Any) -> bool:
    return any(k.__name__ == "IsolatedAsyncioTestCase" for k in type(test).__mro__)  # looked up, it imports asyncio


def unread(function: Any, flags: int = sum(_UNREAD)) -> str:
    """What a call of it gives instead of running it, or ""."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    found = getattr(code, "co_flags", 0) & flags
    return next((what for flag, what in _UNREAD.items() if found & flag), "")


def checked(function: Callable[[], Any], name: str, reporter: Reporter) -> Callable[[], None]:
    """The same test; one that returns something has perhaps not been run, or was meant to be an assertion."""

    @wraps(function)
    def test() -> None:
        refuse(function(), name, reporter)

    return test


def awaited(function: Callable[[], Any], name: str, reporter: Reporter) -> Callable[[], Any]:
    """`checked` for a coroutine."""

    @wraps(function)
    async def test() -> None:
        refuse(await function(), name, reporter)

    return test


def refuse(value: Any, name: str, reporter: Reporter) -> None:
    """The end of the check when a test has returned something."""
    if value is not None:
        reporter.finish(
            "broken", f"the tests: {name} returns a {type(value).__name__}: an assert is missing, or an await"
        )
