"""What a program is worth: the verdict and the points of each test, of subtasks, of all. Frozen data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from pyjail._base.errors import SpecError
from pyjail._base.shown import Document, Shown
from pyjail._result.result import Result


class JudgeVerdict(StrEnum):
    """What a test comes to: the verdict of its run (`Verdict`, with the same values), or what only a judge can say.

    PARTIAL: some of its points. CHECKER_ERROR: the checker itself failed, so nothing can be said of the program; nor
    can it with JAIL_ERROR: its jail failed, or the machine was too busy for it, twice.
    """

    OK = "ok"
    WRONG_ANSWER = "wrong_answer"
    PARTIAL = "partial"
    COMPILE_ERROR = "compile_error"
    CHECKER_ERROR = "checker_error"
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

    ``message``: why it has that verdict, where the run does not say it; what a checker that is a program said.
    ``points``: what it earned, ``of`` so many; not given, all or none. ``checker``: the `Result` of such a checker.
    """

    __test__: ClassVar[bool] = False

    name: str
    verdict: JudgeVerdict
    result: Result | Any = None
    message: str = ""
    points: float | Any = None
    of: float = 1.0
    checker: Result | None = None

    def __post_init__(self) -> None:
        if self.points is None:
            object.__setattr__(self, "points", self.of if self.passed else 0.0)

    def _words(self) -> Iterator[str]:
        yield f"{self.name!r}: {self.verdict.value}"
        if self.message:
            yield self.message
        if self.result is not None:
            yield f"result={self.result!r}"

    @property
    def passed(self) -> bool:
        """Whether the verdict is OK."""
        return self.verdict is JudgeVerdict.OK

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> TestResult:
        """The inverse of `to_dict`."""
        from pyjail._base.documents import unpack

        result, checker = (None if d.get(k) is None else Result.from_dict(d[k]) for k in ("result", "checker"))
        name, message = unpack(d["name"]), unpack(d.get("message", ""))
        return cls(name, JudgeVerdict(d["verdict"]), result, message, d.get("points"), d.get("of", 1.0), checker)


@dataclass(frozen=True, repr=False)
class Subtask(Shown):
    """Tests that earn points together: so many as the worst of them.

    Attributes:
        name: for the result. points: for all of its tests.
        tests: names of tests, or patterns of them (``*`` and ``?``): ("1-*", "sample").
        needs: names of subtasks that have to be earned in full, else this one earns nothing. Default none.

    >>> Subtask("small", 30, ("1-*",)).points
    30
    """

    name: str
    points: float
    tests: tuple[str, ...]
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise SpecError("subtasks.name", self.name, "text is needed")
        points("subtasks.points", self.points)
        for field in ("tests", "needs"):
            value = getattr(self, field)
            if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
                raise SpecError(f"subtasks.{field}", value, "a list of names is needed")
            object.__setattr__(self, field, tuple(value))

    def has(self, test: str) -> bool:
        """Whether this test is one of it."""
        return any(fnmatchcase(test, pattern) for pattern in self.tests)


@dataclass(frozen=True, repr=False)
class SubtaskResult(Shown):
    """What a subtask earned: ``points`` of ``of``; ``verdict``: that of the first of its tests that did not pass."""

    name: str
    verdict: JudgeVerdict
    points: float
    of: float

    def _words(self) -> Iterator[str]:
        yield f"{self.name!r}: {self.verdict.value}"
        yield f"{self.points:g} of {self.of:g} points"


def points(field: str, value: object) -> None:
    """SpecError unless this is a number of points."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        raise SpecError(field, value, "a number that is not negative is needed")


def earned(subtasks: Sequence[Subtask], rows: Sequence[TestResult]) -> tuple[SubtaskResult, ...]:
    """What each subtask comes to, in their order."""
    found: dict[str, SubtaskResult] = {}
    for one in subtasks:
        mine = [row for row in rows if one.has(row.name)]
        part = min((row.points / row.of if row.of else float(row.passed) for row in mine), default=0.0)
        if any(found[need].points < found[need].of for need in one.needs):
            part = 0.0
        verdict = next((row.verdict for row in mine if not row.passed), JudgeVerdict.OK)
        found[one.name] = SubtaskResult(one.name, verdict, one.points * part, one.points)
    return tuple(found.values())


@dataclass(frozen=True, repr=False)
class Judgement(Document):
    """What a program is worth. Frozen, picklable, hashable; `to_dict` and `from_dict` are inverse and JSON-able.

    Attributes:
        language: its name.
        compile: the `Result` of compiling; for a language without a compiler, what its interpreter said of a source
            that is no program, else None. The messages are its ``stderr`` and ``stdout``, the program its ``files``.
        results: one `TestResult` for each test, in their order.
        subtasks: one `SubtaskResult` for each subtask, in their order; none where there are no subtasks.
    """

    language: str
    compile: Result | Any
    results: tuple[TestResult, ...]
    subtasks: tuple[SubtaskResult, ...] = ()

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
        """Whether every test passed."""
        return self.verdict is JudgeVerdict.OK

    @property
    def score(self) -> float:
        """The part of all points that was earned, from 0.0 to 1.0: of the tests, which have one each unless they say
        otherwise, or of the subtasks."""
        of = sum(r.of for r in self.subtasks or self.results)
        return self.points / of if of else float(self.passed)

    @property
    def points(self) -> float:
        """What was earned: by the subtasks, or by the tests where there are none."""
        return float(sum(r.points for r in self.subtasks or self.results))

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes: a "judgement" of docs/data.md. What the compiler made is left out."""
        from pyjail._base.plain import head, pack

        compiled = None if self.compile is None else {**self.compile.to_dict(), "files": {}}
        return {
            **head("judgement"),
            "language": pack(self.language),
            "verdict": self.verdict.value,
            "passed": self.passed,
            "score": self.score,
            "compile": compiled,
            "results": [r.to_dict() for r in self.results],
            "points": self.points,
            "subtasks": [s.to_dict() for s in self.subtasks],
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Judgement:
        """The inverse of `to_dict`, but for what the compiler made. Raises SpecError for what is no such document."""
        from pyjail._base.documents import (
            check,
            reading,
            unpack,
            unpacked,
        )

        d = check(d, "judgement")
        with reading("judgement"):
            compiled = None if d["compile"] is None else Result.from_dict(d["compile"])
            subtasks = tuple(
                SubtaskResult(**{**unpacked(SubtaskResult, s), "verdict": JudgeVerdict(s["verdict"])})
                for s in d.get("subtasks", ())
            )
            return cls(unpack(d["language"]), compiled, tuple(TestResult.from_dict(r) for r in d["results"]), subtasks)
