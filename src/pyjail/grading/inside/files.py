"""Test files of unittest's or pytest's kind. The submission's modules are proxies; nothing of it is in this jail."""

from __future__ import annotations

import sys
import unittest

from .collect import collect
from .problem import explain
from .report import MOST_DETAIL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .proxy import Channel
    from .report import Reporter

_UNSOUND = ("PytestReturnNotNoneWarning", "PytestUnhandledCoroutineWarning", "PytestCollectionWarning")


class Submission(type(sys)):  # type: ignore[misc]
    """A module of the submission, seen from here: functions are proxies, values are copies, the rest is refused."""

    def __init__(self, name: str, channel: Channel) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        channel, module = self._channel, self.__name__
        if f"{module}.{name}" in sys.modules:
            return sys.modules[f"{module}.{name}"]
        answer = ("missing",) if name.startswith("__") else channel.find(module, name)
        if answer[0] == "missing":
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        if answer[0] == "value":
            return answer[1]
        if answer[0] == "exception":
            return channel.exception_class(answer[1])

        def function(*args: Any, **kwargs: Any) -> Any:
            return channel.call(module, name, args, kwargs)

        function.__name__ = function.__qualname__ = name
        return function


class Outcomes(unittest.TestResult):
    """Tells of each test when it has ended. Knows unittest's calls, and pytest's when it is given as a plugin."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self.reporter = reporter
        self.passed = 0
        self.faults: list[str] = []

    def tell(self, name: str, status: str, detail: str = "") -> None:
        self.passed += status == "passed"
        if status == "failed":
            self.faults.append(f"{name}: {detail}")
        self.reporter.note("test", name, status, detail[:MOST_DETAIL])

    def addSuccess(self, test: Any) -> None:
        self.tell(test.id(), "passed")

    def addError(self, test: Any, err: Any) -> None:
        self.tell(test.id(), "failed", explain(err[1], "", ""))

    addFailure = addError

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self.tell(test.id(), "passed", "failed, as it should")

    def addUnexpectedSuccess(self, test: Any) -> None:
        self.tell(test.id(), "failed", "passed, and should not")

    def addSkip(self, test: Any, reason: str) -> None:
        self.tell(test.id(), "skipped", reason)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self.tell(subtest.id(), "failed", explain(err[1], "", ""))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.tell(report.nodeid, report.outcome, _message(report))

    def pytest_collectreport(self, report: Any) -> None:
        if report.outcome == "failed":
            self.tell(report.nodeid, "failed", str(report.longrepr)[-MOST_DETAIL:])


def _message(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return "" if report.outcome == "passed" else str(report.longrepr if crash is None else crash.message)


def run(task: dict[str, Any], channel: Channel, reporter: Reporter) -> None:
    """Report ("test", name, status, detail) for each test; returns when all passed, or were skipped but for one."""
    for name in task["modules"]:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            whole = ".".join(parts[:end])
            if not isinstance(sys.modules.setdefault(whole, Submission(whole, channel)), Submission):
                reporter.finish("broken", f"the tests cannot import {whole} of the submission: Python's own is in use")
    sys.path.insert(0, task["directory"])
    outcomes = Outcomes(reporter)
    paths = [f"{task['directory']}/{name}" for name in task["tests"]]
    if task["framework"] == "pytest":
        with_pytest(paths, task["directory"], outcomes, reporter)
    else:
        suite = unittest.TestSuite(collect(path, task["directory"], reporter) for path in paths)
        suite.run(outcomes)
    if outcomes.faults:
        count = len(outcomes.faults)
        reporter.finish("failed", f"{count} of {count + outcomes.passed} tests: {outcomes.faults[0]}")
    if not outcomes.passed:
        reporter.finish("broken", "there is no test that ran")


def with_pytest(paths: list[str], directory: str, outcomes: Outcomes, reporter: Reporter) -> None:
    """As ``pytest`` does it, where the checker's jail has it."""
    try:
        import pytest
    except ImportError as e:
        reporter.finish("broken", f"pytest is not in the checker's jail: {e}")
    given = ["-q", "-s", "-p", "no:cacheprovider", "--rootdir", directory, "-c", "/dev/null"]
    given += ["--continue-on-collection-errors"]
    for name in _UNSOUND:  # warnings of tests that would pass without being run, or are left out
        given += ["-W", f"error::pytest.{name}"] if hasattr(pytest, name) else []
    status = pytest.main([*given, *paths], plugins=[outcomes])
    if status not in (0, 1, 5) and not outcomes.faults:
        reporter.finish("broken", f"pytest ended with {status!r}")
