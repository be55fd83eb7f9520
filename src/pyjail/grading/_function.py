"""`check_function`: a function and a list of cases, each with its own verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from pyjail import Jail, Limits, Result, SpecError
from pyjail.grading import _judge, _pair, _values
from pyjail.grading._correctness import MODULE, entry_point
from pyjail.records import Document, Record, hash_of


@dataclass(frozen=True, repr=False)
class Case(Record):
    """One call and what has to come of it. All values are plain data: see docs/grading.md.

    Attributes:
        args, kwargs: of the call.
        expected: what has to be returned, as ``==`` sees it; a NaN equals a NaN.
        raises: instead: the name of the exception's class that has to be raised, or of one that it derives from.
        arguments: what ``args`` have to be after the call; None: whatever.

    >>> Case((2, 3), 5)
    Case(args=(2, 3), expected=5)
    """

    args: Sequence[Any] = ()
    expected: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    raises: str | None = None
    arguments: Sequence[Any] | None = None

    __hash__ = hash_of

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes, plain data as docs/data.md has it. SpecError for what is none."""
        return {name: _values.write(name, getattr(self, name)) for name in _CASE}


_CASE = tuple(f.name for f in fields(Case))


@dataclass(frozen=True, repr=False)
class CaseResult(Record):
    """What came of one case.

    Attributes:
        case: the `Case`. passed: whether it did. reason: as `Correctness.reason`.
        value: what was returned, of our own making, an iterator as the list of its items; None also when it raised, or
            was larger than 64 KiB.
        candidate, checker: the `Result` of each jail that it ran in; consecutive cases share them.
    """

    case: Case
    passed: bool
    reason: str
    value: Any
    candidate: Result
    checker: Result

    @property
    def decided(self) -> bool:
        """Whether something can be said of this case, as `Correctness.decided` has it."""
        return self.reason.partition(":")[0] != _judge.UNDECIDED

    __hash__ = hash_of

    def _words(self) -> Iterator[str]:
        yield self.reason
        yield repr(self.case)

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes."""
        return {**self._alone(), "candidate": self.candidate.to_dict(), "checker": self.checker.to_dict()}

    def _alone(self) -> dict[str, Any]:
        """Without what consecutive cases share."""
        from pyjail.records import pack

        value = _values.write("value", self.value)
        return {"case": self.case.to_dict(), "passed": self.passed, "reason": pack(self.reason), "value": value}


@dataclass(frozen=True, repr=False)
class FunctionReport(Document):
    """What came of all cases, in their order. ``report.passed``: all of them did, and there was one.

    Frozen, picklable; `to_dict` and `from_dict` are inverse and JSON-able.
    """

    results: tuple[CaseResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that `json.dumps` takes: a "function_report" of docs/data.md. SpecError for a case of
        what is no plain data."""
        from pyjail.records import head

        pairs: list[tuple[Result, Result]] = []
        rows = []
        for one in self.results:
            if not pairs or pairs[-1][0] is not one.candidate or pairs[-1][1] is not one.checker:
                pairs.append((one.candidate, one.checker))
            rows.append({**one._alone(), "pair": len(pairs) - 1})
        jails = [{"candidate": c.to_dict(), "checker": k.to_dict()} for c, k in pairs]
        told = {"passed": self.passed, "decided": self.decided}
        return {**head("function_report"), **told, "pairs": jails, "results": rows}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> FunctionReport:
        """The inverse of `to_dict`. Raises SpecError for what is no such document."""
        from pyjail.records import check, reading, unpack

        d = check(d, "function_report")
        with reading("function_report"):
            pairs = [(Result.from_dict(p["candidate"]), Result.from_dict(p["checker"])) for p in d["pairs"]]
            return cls(
                tuple(
                    CaseResult(
                        Case(**{name: _values.read(row["case"][name]) for name in _CASE}),
                        row["passed"], unpack(row["reason"]), _values.read(row["value"]), *pairs[row["pair"]],
                    )
                    for row in d["results"]
                )
            )  # fmt: skip

    def _words(self) -> Iterator[str]:
        yield f"{sum(r.passed for r in self.results)} of {len(self.results)} passed"
        if first := next((r for r in self.results if not r.passed), None):
            yield f"first failure: {first.reason}"

    @property
    def passed(self) -> bool:
        """Whether all cases passed."""
        return bool(self.results) and all(r.passed for r in self.results)

    @property
    def decided(self) -> bool:
        """Whether something can be said of every case."""
        return all(r.decided for r in self.results)


def check_function(
    source: str,
    function: str,
    cases: Iterable[Case | tuple[Sequence[Any], Any]],
    timeout: float | str = 3.0,
    *,
    tolerance: float = 0.0,
    iterators: bool = False,
    isolate: bool = False,
    limits: Limits | None = None,
    jail: Jail | None = None,
    checker_limits: Limits | None = None,
    checker_jail: Jail | None = None,
    python: str | None = None,
    packages: bool = False,
) -> FunctionReport:
    """Call a function of an untrusted source with many arguments, and judge each result where it cannot reach.

    Cases run one after the other in one pair of jails. A case that ends its candidate (a crash, a timeout) counts only
    when it was the first in its jail; otherwise it, and the rest, get a new pair. So no case pays for the ones before.

    Args:
        source: the submission, Python. Not trusted.
        function: the name of the function in it.
        cases: each a `Case` or ``(args, expected)``.
        timeout: seconds of CPU time, as in `check_correctness`, that every case has at least, and one pair of jails at
            most.
        tolerance: how far a number may be from the expected one, if one of the two is no int. Default 0: exactly equal.
        iterators: what an iterator, or a view of a dict, gives counts as the list of it, and is read to its end: what
            it raises is raised. Default False: an iterator equals no list.
        isolate: a pair of jails for each case, so that no call can leave anything to the next. Default False.
        limits, jail, checker_limits, checker_jail, python, packages: as in `check_correctness`.

    Returns:
        A `FunctionReport`.

    Raises:
        SpecError: an argument makes no sense, or a case holds what is no plain data.
        HostError, SetupError, ExecError, OSError: no jail could be made, as from `pyjail.run`.

    >>> source = "def half(n):\\n    return n / 2 if n < 100 else exit()\\n"
    >>> report = check_function(source, "half", [((3,), 1.5), ((4,), 1), ((100,), 50)])
    >>> [r.reason for r in report.results]
    ['passed', 'failed: another result than expected', 'crashed: SystemExit']
    """
    where = _pair.setting(timeout, limits, jail, checker_limits, checker_jail, python, packages)
    entry_point(function)
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not tolerance >= 0:
        raise SpecError("tolerance", tolerance, "a number that is not negative is needed")
    for name, value in (("iterators", iterators), ("isolate", isolate)):
        if not isinstance(value, bool):
            raise SpecError(name, value, "True or False is needed")
    todo = [_case(case) for case in cases]
    for case in todo:  # before anything runs
        _pair.job({"case": _plain(case)}, "cases")
    submission = {f"{MODULE}.py": _pair.submitted("source", source)}
    results: list[CaseResult] = []
    while len(results) < len(todo):
        first = len(results)
        batch = todo[first : first + 1] if isolate else todo[first:]
        task = {
            "kind": "cases",
            "module": MODULE,
            "entry_point": function,
            "tolerance": float(tolerance),
            "iterators": iterators,
        }
        blob, batch = _fitting(task, batch)
        pair = _judge.decided(partial(_pair.run, where, submission, blob, None, False), _some)
        results += _read(pair, batch)
    return FunctionReport(tuple(results))


def _case(case: object) -> Case:
    if isinstance(case, Case):
        for name, wanted in (("args", (tuple, list)), ("kwargs", Mapping), ("arguments", (tuple, list, type(None)))):
            if not isinstance(getattr(case, name), wanted):
                raise SpecError("cases", case, f"{name} cannot be a {type(getattr(case, name)).__name__}")
        return case
    if not isinstance(case, (tuple, list)) or len(case) != 2 or not isinstance(case[0], (tuple, list)):
        raise SpecError("cases", case, "a Case, or a tuple of arguments and what is expected, is needed")
    return Case(tuple(case[0]), case[1])


def _plain(case: Case) -> tuple[Any, ...]:
    return tuple(case.args), dict(case.kwargs), case.expected, case.raises, case.arguments


def _fitting(task: dict[str, Any], batch: list[Case]) -> tuple[bytes, list[Case]]:
    """The job of as many of these cases as go into one, and those."""
    while True:
        try:
            return _pair.job({**task, "cases": [_plain(case) for case in batch]}, "cases"), batch
        except SpecError:
            if len(batch) == 1:
                raise
            batch = batch[: len(batch) // 2]


def _some(pair: _pair.Pair) -> bool:
    """Whether it has judged a case."""
    return any(report[0] == "case" for report in pair.reports)


def _read(pair: _pair.Pair, batch: list[Case]) -> list[CaseResult]:
    """The results of the cases that this pair has judged, one at least."""
    done = []
    loaded = pair.reports[:1] == (("ready",),)
    for case, report in zip(batch, pair.reports[1:], strict=False):
        if report[0] != "case" or len(report) != 4:
            break
        _, status, detail, value = report
        reason = _judge.line(str(status), str(detail))
        done.append(CaseResult(case, status == "passed", reason, value, pair.candidate, pair.checker))
    if not done:  # it did not get past the first case, or not so far
        status, detail, _ = _judge.end(pair)
        same = batch if status == "failed" and not loaded else batch[:1]
        reason = _judge.line(status, detail)
        done = [CaseResult(case, False, reason, None, pair.candidate, pair.checker) for case in same]
    return done
