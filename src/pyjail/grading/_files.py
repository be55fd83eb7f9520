"""`run_tests`: test files of unittest's or pytest's kind, run where the submission is not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyjail import File, Jail, Limits, Result, SpecError
from pyjail.grading import _judge, _pair
from pyjail.records import Document, Record

TESTS = "tests"  # the directory of the test files in the checker's jail


@dataclass(frozen=True, repr=False)
class Test(Record):
    """What came of one test. status: "passed", "failed" or "skipped"."""

    __test__ = False  # for pytest: not a test itself
    _schema = "GradedTest"  # `pyjail.Test` is another

    name: str
    status: str
    detail: str = ""

    def _words(self) -> Iterator[str]:
        yield f"{self.name!r}: {self.status}"
        if self.detail:
            yield f"detail={self.detail[:100]!r}"


@dataclass(frozen=True, repr=False)
class TestReport(Document):
    """What came of a run of test files. Frozen, picklable; `to_dict` and `from_dict` are inverse and JSON-able.

    Attributes:
        passed: no test failed, and one passed at least. reason: as `Correctness.reason`.
        tests: a `Test` for each that ended. printed: what the tests printed, its last 64 Ki characters.
        candidate, checker: the `Result` of each jail.
    """

    __test__ = False

    passed: bool
    reason: str
    tests: tuple[Test, ...]
    printed: str
    candidate: Result
    checker: Result

    @property
    def decided(self) -> bool:
        """Whether something can be said, as `Correctness.decided` has it."""
        return self.reason.partition(":")[0] != _judge.UNDECIDED

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that `json.dumps` takes: a "test_report" of docs/data.md."""
        from pyjail.records import head

        return {**head("test_report"), **super().to_dict(), "decided": self.decided}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> TestReport:
        """The inverse of `to_dict`. Raises SpecError for what is no such document."""
        from pyjail.records import check, reading, unpack, unpacked

        d = check(d, "test_report")
        with reading("test_report"):
            tests = tuple(Test(**unpacked(Test, one)) for one in d["tests"])
            jails = (Result.from_dict(d[name]) for name in ("candidate", "checker"))
            return cls(d["passed"], unpack(d["reason"]), tests, unpack(d["printed"]), *jails)

    def _words(self) -> Iterator[str]:
        yield self.reason
        yield f"{sum(t.status == 'passed' for t in self.tests)} of {len(self.tests)} tests passed"


def run_tests(
    files: Mapping[str, Any],
    tests: Mapping[str, str],
    modules: Sequence[str],
    timeout: float | str = 10.0,
    *,
    framework: str = "unittest",
    limits: Limits | None = None,
    jail: Jail | None = None,
    checker_limits: Limits | None = None,
    checker_jail: Jail | None = None,
    python: str | None = None,
    packages: bool = False,
) -> TestReport:
    """Run trusted test files against an untrusted submission that is in another jail.

    In the tests, ``import solution`` gives a stand-in: its functions are called over there, its exceptions' classes can
    be caught, its values are copies. Instances of its classes cannot be had: they are refused.

    Args:
        files: the submission, {relative path: text or bytes}. Not trusted, whatever its files are called.
        tests: the test files, {file name: source}. Trusted.
        modules: the modules of the submission that the tests may import, such as ["solution"]. Named by you, so that a
            submission with a file ``unittest.py`` replaces nothing.
        timeout: seconds of CPU time for the candidate's jail, as in `check_correctness`.
        framework: "unittest" runs TestCase classes and functions ``test*`` without parameters; "pytest" has pytest do
            it, if the checker's jail has it installed.
        limits, jail, checker_limits, checker_jail, python, packages: as in `check_correctness`.

    Returns:
        A `TestReport`.

    Raises:
        SpecError: an argument makes no sense.
        HostError, SetupError, ExecError, OSError: no jail could be made, as from `pyjail.run`.

    >>> report = run_tests({"solution.py": "def twice(x):\\n    return x * 2\\n"},
    ...                    {"test_twice.py": "from solution import twice\\ndef test(): assert twice('a') == 'aa'\\n"},
    ...                    ["solution"])
    >>> report.passed, report.tests
    (True, (<Test 'test': passed>,))
    """
    where = _pair.setting(timeout, limits, jail, checker_limits, checker_jail, python, packages)
    if framework not in ("unittest", "pytest"):
        raise SpecError("framework", framework, 'must be "unittest" or "pytest"')
    if isinstance(modules, str) or not all(isinstance(m, str) and _is_module(m) for m in modules) or not modules:
        raise SpecError("modules", modules, "a sequence of modules' names is needed")
    if not isinstance(tests, Mapping) or not tests:
        raise SpecError("tests", tests, "a mapping of file names to sources is needed")
    for name in tests:
        if not isinstance(name, str) or not name.endswith(".py") or "/" in name:
            raise SpecError("tests", name, "the name of a Python file, without a directory, is needed")
        if name.removesuffix(".py") in modules:
            raise SpecError("tests", name, "is called as a module of the submission")
    if not isinstance(files, Mapping):
        raise SpecError("files", files, "a mapping of relative paths to contents is needed")
    for name, data in files.items():
        if not isinstance(name, str) or not isinstance(data, (str, bytes, File, os.PathLike)):
            raise SpecError("files", name, "a name, and text, bytes, a File or a Path for it, are needed")
        if isinstance(data, os.PathLike) and not os.path.exists(data):
            raise SpecError("files", data, "there is no such file")
    task = _pair.job(
        {
            "kind": "files", "framework": framework, "modules": list(modules), "directory": f"/box/{TESTS}",
            "tests": [name for name in tests if name != "conftest.py"],
        },
        "tests",
    )  # fmt: skip
    sources = {f"{TESTS}/{name}": _pair.source("tests", text) for name, text in tests.items()}
    site = framework == "pytest"
    pair = _judge.decided(lambda patience: _pair.run(where, files, task, sources, site, patience))
    status, detail, printed = _judge.end(pair)
    told = tuple(
        Test(*(_judge.one_line(str(part)) for part in report[1:]))
        for report in pair.reports
        if report[0] == "test" and len(report) == 4
    )
    return TestReport(status == "passed", _judge.line(status, detail), told, printed, pair.candidate, pair.checker)


def _is_module(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))
