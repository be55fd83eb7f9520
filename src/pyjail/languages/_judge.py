"""`judge_source`: compile once, run on every test, one verdict for each."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from contextvars import copy_context
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from pyjail._base.errors import SetupError, SpecError
from pyjail._result.result import Result
from pyjail._result.verdict import Verdict
from pyjail._spec import inputs
from pyjail._spec.jail import Jail, Limits
from pyjail.languages import _machine
from pyjail.languages._checker import Judge, judge_of
from pyjail.languages._judgement import Judgement, JudgeVerdict, Subtask, TestResult, earned
from pyjail.languages._language import Language
from pyjail.languages._program import Program, prepare
from pyjail.languages._submission import Source
from pyjail.languages._table import find
from pyjail.languages._test import AnyTest, Checker, Test, make_test

if TYPE_CHECKING:
    from pyjail._many.pool import Pool

_TAIL = 64 << 10  # of stderr, where a runtime says that its heap was full


def judge_source(
    language: Language | str,
    source: Source,
    tests: Sequence[AnyTest],
    limits: Limits | None = None,
    *,
    jail: Jail | None = None,
    compile_limits: Limits | None = None,
    stop_on_failure: bool = False,
    workers: int | None = None,
    checker: Checker | str | Program | None = None,
    checker_limits: Limits | None = None,
    files: Mapping[str, Any] | None = None,
    entry: str | None = None,
    input_file: str | None = None,
    output_file: str | None = None,
    subtasks: Sequence[Subtask] = (),
    progress: Callable[[TestResult], object] | None = None,
) -> Judgement:
    """Compile a program in a jail of its own, run it on every test in a fresh one, compare what it prints.

    Args:
        language: a `pyjail.languages.Language`, or a name, title or extension: "cpp", "C++", ".cpp".
        source: the text (str, bytes), or a Path to read it from; or several files, {name: text}.
        tests: at least one; each a `Test`, a pair (input, expected), or a mapping of a test's attributes.
        limits: of each run; default `Limits()`. They are raised to what the runtime starts with at least (a JVM needs
            64 processes and 128 MiB), and it is told of them: its heap, its threads. ``result.limits`` has them.
        jail: what is around the program and the compiler; default `Jail()`.
        compile_limits: of the compiler; default the language's: 60 s of CPU, 1 GiB, 256 processes.
        stop_on_failure: after the first test that fails, in their order, the others are SKIPPED; with ``subtasks``
            those that are in none but lost ones. Default False.
        workers: how many tests run at once; default 1, which measures most steadily.
        checker: decides whether an output is right, when the run was: "tokens" (default: the same words), "lines"
            (white space at the ends of lines and empty lines at the end do not count), "exact", or a function
            ``(test, output) -> bool``, which is called from the caller's thread; or a program, from `prepare`, which is
            run in a jail of its own with the names of three files, the test's input, the output and what is expected,
            and answers as testlib's checkers do: exit code 0 right, 1, 2, 4 and 8 wrong, 3 the checker's own failure, 7
            "points N" on stderr, 16 + N for N percent of the points.
        checker_limits: of such a program; default 30 s of CPU, 1 GiB.
        files, entry: as for `prepare`: graders, headers and data; the file that is run.
        input_file, output_file: names of files in /box that the program reads and writes instead of stdin and stdout.
        subtasks: `Subtask`, which earn points for tests together. Default: every test for itself.
        progress: called with the result of each test once it is known, in their order, from the caller's thread. (A
            source that an interpreter cannot read is known to be none only then: the `Judgement` counts.)

    Returns:
        A `Judgement`, whatever the source is. A program that does not compile, or cannot be started, is one with the
        compiler's messages and verdict COMPILE_ERROR; so is a source that an interpreter cannot read. A run that met
        its wall limit while the machine had no CPU for it is done again with four times as much; if that is no better,
        its verdict is JAIL_ERROR, with the cause as ``message``.

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
    if checker_limits is not None and not isinstance(checker_limits, Limits):
        raise SpecError("checker_limits", checker_limits, "a pyjail.Limits is needed")
    check_subtasks(subtasks, cases)
    way = Way(
        limits, _file("input_file", input_file), _file("output_file", output_file), judge_of(checker, checker_limits)
    )
    language = language if isinstance(language, Language) else find(language)
    budget = language.compile_limits if compile_limits is None else compile_limits
    program, late = _machine.patiently(
        lambda patience: prepare(
            language, source, jail=jail, limits=_machine.longer(budget, patience), files=files, entry=entry
        ),
        lambda program, watch: _machine.late(program.compile, watch),
    )
    if not program.ok:
        return _nothing_to_run(program, cases, subtasks, late)
    found: list[TestResult] = []
    read = False

    def wanted(case: Test) -> bool:
        return not stop_on_failure or _can_earn(case, found, subtasks)

    with closing(_each(program, cases, way, workers or 1, wanted)) as results:
        for case, ran in zip(cases, results, strict=False):
            if not read and ran.result is not None and ran.result.verdict is Verdict.RUNTIME_ERROR:
                read, known = True, program.checked(compile_limits)
                if not known.ok:
                    return _nothing_to_run(known, cases, subtasks)
            found.append(_row(program, case, ran if wanted(case) else Ran(), way))
            if progress is not None:
                progress(found[-1])
            if not any(map(wanted, cases[len(found) :])):
                break
    found += [_row(program, case, Ran(), way) for case in cases[len(found) :]]
    return Judgement(program.language.name, program.compile, tuple(found), earned(subtasks, found))


@dataclass(frozen=True)
class Way:
    """How each test is run, and who is asked about its output."""

    limits: Limits | None
    input_file: str | None
    output_file: str | None
    judge: Judge


def _file(field: str, name: str | None) -> str | None:
    return None if name is None else inputs.relative(field, name)


def check_subtasks(subtasks: Sequence[Subtask], cases: Sequence[Test]) -> None:
    """SpecError for one without tests, two of a name, or a need that comes later."""
    seen: set[str] = set()
    for one in subtasks:
        if not isinstance(one, Subtask):
            raise SpecError("subtasks", one, "a pyjail.Subtask is needed")
        if not any(one.has(case.name or "") for case in cases):
            raise SpecError("subtasks", one.name, "has none of the tests")
        if one.name in seen:
            raise SpecError("subtasks", one.name, "is there twice")
        if missing := set(one.needs) - seen:
            raise SpecError("subtasks", one.name, f"needs {min(missing)!r}, which is none of those before it")
        seen.add(one.name)


def _can_earn(case: Test, rows: Sequence[TestResult], subtasks: Sequence[Subtask]) -> bool:
    """Whether this test may still bring something: nothing failed before; or one of its subtasks is not lost."""
    failed = [row.name for row in rows if not row.passed and row.points == 0]
    if not subtasks:
        return all(row.passed for row in rows)
    lost: set[str] = set()
    for one in subtasks:
        if any(map(one.has, failed)) or lost.intersection(one.needs):
            lost.add(one.name)
    return any(one.has(case.name or "") and one.name not in lost for one in subtasks)


def _nothing_to_run(program: Program, cases: Sequence[Test], subtasks: Sequence[Subtask], late: str = "") -> Judgement:
    """No test has a run. ``late``: why its compiler had no time."""
    lost = late or (program.compile is not None and program.compile.verdict is Verdict.JAIL_ERROR)
    verdict = JudgeVerdict.JAIL_ERROR if lost else JudgeVerdict.COMPILE_ERROR
    rows = tuple(TestResult(case.name or "", verdict, None, late or program.fault, 0.0, case.points) for case in cases)
    return Judgement(program.language.name, program.compile, rows, earned(subtasks, rows))


@dataclass(frozen=True)
class Ran:
    """Of a test: ``result``; ``fault``: why the program could not be started for it; ``late``: why its result says
    nothing of the program. Nothing of them: it was skipped."""

    result: Result | None = None
    fault: str = ""
    late: str = ""


def _run(program: Program, case: Test, way: Way, pool: Pool | None = None) -> Ran:
    """One test; once more when the machine was too busy for it."""
    ran, late = _machine.patiently(
        lambda patience: _try(program, case, way, pool, patience),
        lambda ran, watch: _machine.late(ran.result, watch),
    )
    return replace(ran, late=late) if late else ran


def _try(program: Program, case: Test, way: Way, pool: Pool | None, patience: float) -> Ran:
    """What the submission contains is no exception of the caller's."""
    given: dict[str, Any] = {} if way.output_file is None else {"collect": (way.output_file,)}
    limits = _machine.longer(case.limits or way.limits or Limits(), patience)
    with ExitStack() as stack:
        if way.input_file is not None:
            given["files"] = {way.input_file: case.input}
        elif isinstance(case.input, os.PathLike):
            given["stdin"] = stack.enter_context(open(case.input, "rb"))
        else:
            given["input"] = case.input
        try:
            return Ran(program.run(limits, pool=pool, **given))
        except SetupError as e:
            why = program.blames(e)
            if not why:
                raise
            return Ran(fault=why)


def _each(
    program: Program, cases: Sequence[Test], way: Way, workers: int, wanted: Callable[[Test], bool]
) -> Generator[Ran, None, None]:
    """The results in order. When the caller stops taking them, or one raises, what still runs is ended."""
    if workers == 1:
        for case in cases:
            yield _run(program, case, way) if wanted(case) else Ran()
        return
    from pyjail._many.pool import Pool

    with ThreadPoolExecutor(workers, "pyjail-judge") as threads, Pool(workers, program.jail, warm=0) as pool:

        def start(case: Test) -> Future[Ran] | None:
            if not wanted(case):
                return None
            return threads.submit(copy_context().run, _run, program, case, way, pool)  # for who cancels all of it

        rest = iter(cases)
        running = [start(case) for case in islice(rest, workers)]
        while running:
            future = running.pop(0)
            result = Ran() if future is None else future.result()
            running += [start(case) for case in islice(rest, 1)]
            yield result


def _row(program: Program, case: Test, ran: Ran, way: Way) -> TestResult:
    name, of, result = case.name or "", float(case.points), ran.result
    if result is None:
        verdict = JudgeVerdict.COMPILE_ERROR if ran.fault else JudgeVerdict.SKIPPED
        return TestResult(name, verdict, None, ran.fault, of=of)
    verdict = JudgeVerdict.JAIL_ERROR if ran.late else _verdict(program, result)
    if verdict is not JudgeVerdict.OK:
        return TestResult(name, verdict, result, ran.late, of=of)
    output = result.stdout if way.output_file is None else result.files.get(way.output_file)
    if output is None:
        why = next(iter(result.uncollected.values()), "not found")
        return TestResult(name, JudgeVerdict.WRONG_ANSWER, result, f"{way.output_file}: {why}", of=of)
    opinion = way.judge(case, output)
    return TestResult(name, opinion.verdict, result, opinion.message, opinion.part * of, of, opinion.result)


def _verdict(program: Program, result: Result) -> JudgeVerdict:
    """A heap that was full counts as memory: the runtime was told to keep below the limit, and could not."""
    if result.verdict in (Verdict.RUNTIME_ERROR, Verdict.SIGNALED):
        pattern = program.language.out_of_memory
        if pattern and re.search(pattern.encode(), result.stderr[-_TAIL:]):
            return JudgeVerdict.MEMORY
    return JudgeVerdict(result.verdict.value)
