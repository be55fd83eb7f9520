"""`judge_source`: compile once, run on every test, one verdict for each."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from pyjail._errors import SetupError, SpecError
from pyjail._result import Result, Verdict
from pyjail._shown import Document, Shown
from pyjail._spec import Jail, Limits
from pyjail.languages._language import Language
from pyjail.languages._program import Program, prepare
from pyjail.languages._test import AnyTest, Checker, Test, make_checker, make_test

if TYPE_CHECKING:
    from pyjail._pool import Pool

_TAIL = 64 << 10  # of stderr, where a runtime says that its heap was full


class JudgeVerdict(StrEnum):
    """What a test comes to: the verdict of its run (`Verdict`, with the same values), or what only a judge can say."""

    OK = "ok"
    WRONG_ANSWER = "wrong_answer"
    COMPILE_ERROR = "compile_error"
    SKIPPED = "skipped"
    RUNTIME_ERROR = "runtime_error"
    SIGNALED = "signaled"
    CPU_TIME = "cpu_time"
    WALL_TIME = "wall_time"
    MEMORY = "memory"
    OUTPUT = "output"
    SECURITY = "security"
    JAIL_ERROR = "jail_error"


@dataclass(frozen=True, repr=False)
class TestResult(Shown):
    """One test: its name, its `JudgeVerdict`, and the `Result` of the run; None when there was no run.

    ``message``: why it has that verdict, where the run does not say it.
    """

    __test__: ClassVar[bool] = False

    name: str
    verdict: JudgeVerdict
    result: Result | Any = None
    message: str = ""

    def _words(self) -> Iterator[str]:
        yield f"{self.name!r}: {self.verdict.value}"
        if self.message:
            yield self.message
        if self.result is not None:
            yield f"result={self.result!r}"

    @property
    def passed(self) -> bool:
        """The verdict is OK."""
        return self.verdict is JudgeVerdict.OK

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes."""
        result = None if self.result is None else self.result.to_dict()
        return {"name": self.name, "verdict": self.verdict.value, "result": result, "message": self.message}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> TestResult:
        """The inverse of `to_dict`."""
        result = None if d.get("result") is None else Result.from_dict(d["result"])
        return cls(d["name"], JudgeVerdict(d["verdict"]), result, d.get("message", ""))


@dataclass(frozen=True, repr=False)
class Judgement(Document):
    """What a program is worth. Frozen, picklable, hashable; `to_dict` and `from_dict` are inverse and JSON-able.

    Attributes:
        language: its name.
        compile: the `Result` of compiling; for a language without a compiler, what its interpreter said of a source
            that is no program, else None. The messages are its ``stderr`` and ``stdout``, the program its ``files``.
        results: one `TestResult` for each test, in their order.
    """

    language: str
    compile: Result | Any
    results: tuple[TestResult, ...]

    def _words(self) -> Iterator[str]:
        yield f"{self.language}: {self.verdict.value}"
        yield f"{sum(r.passed for r in self.results)} of {len(self.results)} passed"
        if first := next((r for r in self.results if not r.passed), None):
            yield f"first failure: {first.name!r}"

    @property
    def verdict(self) -> JudgeVerdict:
        """OK when every test passed; else that of the first which did not."""
        return next((r.verdict for r in self.results if not r.passed), JudgeVerdict.OK)

    @property
    def passed(self) -> bool:
        """Every test passed."""
        return self.verdict is JudgeVerdict.OK

    @property
    def score(self) -> float:
        """The part of the tests that passed, from 0.0 to 1.0."""
        return sum(r.passed for r in self.results) / len(self.results)

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes: a "judgement" of docs/data.md. What the compiler made is left out."""
        from pyjail._jsonable import head

        compiled = None if self.compile is None else {**self.compile.to_dict(), "files": {}}
        return {
            **head("judgement"),
            "language": self.language,
            "verdict": self.verdict.value,
            "passed": self.passed,
            "score": self.score,
            "compile": compiled,
            "results": [r.to_dict() for r in self.results],
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Judgement:
        """The inverse of `to_dict`, but for what the compiler made. Raises SpecError for what is no such document."""
        from pyjail._jsonable import check, reading

        d = check(d, "judgement", ("language", "compile", "results"))
        with reading("judgement"):
            compiled = None if d["compile"] is None else Result.from_dict(d["compile"])
            return cls(d["language"], compiled, tuple(TestResult.from_dict(r) for r in d["results"]))


def judge_source(
    language: Language | str,
    source: str | bytes | os.PathLike[str],
    tests: Sequence[AnyTest],
    limits: Limits | None = None,
    *,
    jail: Jail | None = None,
    compile_limits: Limits | None = None,
    stop_on_failure: bool = False,
    workers: int | None = None,
    checker: Checker | str | None = None,
) -> Judgement:
    """Compile a program in a jail of its own, run it on every test in a fresh one, compare what it prints.

    Args:
        language: a `pyjail.languages.Language`, or a name, title or extension: "cpp", "C++", ".cpp".
        source: the text (str, bytes), or a Path to read it from.
        tests: at least one; each a `Test`, a pair (input, expected), or a mapping of a test's attributes.
        limits: of each run; default `Limits()`. They are raised to what the runtime starts with at least (a JVM needs
            64 processes and 128 MiB), and it is told of them: its heap, its threads. ``result.limits`` has them.
        jail: what is around the program and the compiler; default `Jail()`.
        compile_limits: of the compiler; default the language's: 60 s of CPU, 1 GiB, 256 processes.
        stop_on_failure: after the first test that fails, in their order, the others are SKIPPED. Default False.
        workers: how many tests run at once; default 1, which measures most steadily.
        checker: decides whether an output is right, when the run was: "tokens" (default: the same words), "lines"
            (white space at the ends of lines and empty lines at the end do not count), "exact", or a function
            ``(test, output) -> bool``, which is called from the caller's thread.

    Returns:
        A `Judgement`, whatever the source is. A program that does not compile, or cannot be started, is one with the
        compiler's messages and verdict COMPILE_ERROR; so is a source that an interpreter cannot read.

    Raises:
        SpecError: an argument makes no sense; an unknown language is told with the nearest.
        HostError: a tool of the language is missing (``hint`` names Debian's package), or a limit cannot be enforced.
        OSError: the source cannot be read. What ``checker`` raises. Otherwise as `pyjail.run`.

    >>> import pyjail
    >>> judged = pyjail.judge_source("python", "print(sum(map(int, input().split())))", [("3 4", "7"), ("1 1", "3")])
    >>> [r.verdict.value for r in judged.results], judged.score
    (['ok', 'wrong_answer'], 0.5)
    """
    if isinstance(tests, (str, bytes, dict)):
        raise SpecError("tests", tests, "a sequence of tests is needed")
    cases = [make_test(test, number) for number, test in enumerate(tests)]
    if not cases:
        raise SpecError("tests", tests, "one test at least is needed")
    for field, given in (("limits", limits), ("compile_limits", compile_limits)):
        if given is not None and not isinstance(given, Limits):
            raise SpecError(field, given, "a pyjail.Limits is needed")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= 1024):
        raise SpecError("workers", workers, "a number from 1 to 1024 is needed, or None for 1")
    right = make_checker(checker)
    program = prepare(language, source, jail=jail, limits=compile_limits)
    if not program.ok:
        return _nothing_to_run(program, cases)
    found: list[TestResult] = []
    read = False
    with closing(_each(program, cases, limits, workers or 1)) as results:
        for case, result in zip(cases, results, strict=False):
            if not read and isinstance(result, Result) and result.verdict is Verdict.RUNTIME_ERROR:
                read, known = True, program.checked(compile_limits)
                if not known.ok:
                    return _nothing_to_run(known, cases)
            found.append(_row(program, case, result, right))
            if stop_on_failure and not found[-1].passed:
                break
    skipped = [TestResult(case.name or "", JudgeVerdict.SKIPPED) for case in cases[len(found) :]]
    return Judgement(program.language.name, program.compile, (*found, *skipped))


def _nothing_to_run(program: Program, cases: Sequence[Test]) -> Judgement:
    """No test has a run."""
    lost = program.compile is not None and program.compile.verdict is Verdict.JAIL_ERROR
    verdict = JudgeVerdict.JAIL_ERROR if lost else JudgeVerdict.COMPILE_ERROR
    rows = tuple(TestResult(case.name or "", verdict, None, program.fault) for case in cases)
    return Judgement(program.language.name, program.compile, rows)


Ran = Result | str  # of a test; or why the program could not be started for it


def _run(program: Program, case: Test, limits: Limits | None, pool: Pool | None = None) -> Ran:
    """One test. What the submission contains is no exception of the caller's."""
    try:
        return program.run(case.limits or limits, input=case.input, pool=pool)
    except SetupError as e:
        why = program.blames(e)
        if not why:
            raise
        return why


def _each(program: Program, cases: Sequence[Test], limits: Limits | None, workers: int) -> Generator[Ran, None, None]:
    """The results in order. When the caller stops taking them, or one raises, what still runs is ended."""
    if workers == 1:
        for case in cases:
            yield _run(program, case, limits)
        return
    from pyjail._pool import Pool

    with ThreadPoolExecutor(workers, "pyjail-judge") as threads, Pool(workers, program.jail, warm=0) as pool:

        def start(case: Test) -> Future[Ran]:
            return threads.submit(copy_context().run, _run, program, case, limits, pool)  # for who cancels all of it

        rest = iter(cases)
        running = [start(case) for case in islice(rest, workers)]
        while running:
            result = running.pop(0).result()
            running += [start(case) for case in islice(rest, 1)]
            yield result


def _row(program: Program, case: Test, ran: Ran, right: Checker) -> TestResult:
    name = case.name or ""
    if isinstance(ran, str):
        return TestResult(name, JudgeVerdict.COMPILE_ERROR, None, ran)
    return TestResult(name, _verdict(program, case, ran, right), ran)


def _verdict(program: Program, case: Test, result: Result, right: Checker) -> JudgeVerdict:
    """A heap that was full counts as memory: the runtime was told to keep below the limit, and could not."""
    verdict = result.verdict
    if verdict in (Verdict.RUNTIME_ERROR, Verdict.SIGNALED):
        pattern = program.language.out_of_memory
        if pattern and re.search(pattern.encode(), result.stderr[-_TAIL:]):
            return JudgeVerdict.MEMORY
    if verdict is Verdict.OK and not right(case, result.stdout):
        return JudgeVerdict.WRONG_ANSWER
    return JudgeVerdict(verdict.value)
