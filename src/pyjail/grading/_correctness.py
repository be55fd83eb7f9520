"""`check_correctness`: HumanEval's function of that name, with the tests out of the completion's reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyjail import Jail, Limits, Result, SpecError
from pyjail.grading import _judge, _pair, _values
from pyjail.records import Document

MODULE = "submission"  # what the candidate's source is imported as


@dataclass(frozen=True, repr=False)
class Correctness(Document):
    """What came of one completion. Frozen, picklable; `to_dict` and `from_dict` are inverse and JSON-able.

    Attributes:
        task_id: the problem's.
        passed: all tests passed, and the candidate did nothing that would say otherwise.
        reason: "passed", "timed out", "failed: ...", "crashed: ...", "forged: ...", "refused: ...", "broken: ..." or
            "undecided: ...".
        candidate, checker: the `Result` of each jail. The candidate's stderr is all that it printed.
        completion_id: as given.
        printed: what the tests printed, its last 64 Ki characters.
    """

    task_id: Any
    passed: bool
    reason: str
    candidate: Result
    checker: Result
    completion_id: Any = None
    printed: str = ""

    def _words(self) -> Iterator[str]:
        yield f"{self.task_id!r}"
        yield self.reason

    @property
    def status(self) -> str:
        """The word that ``reason`` begins with."""
        return self.reason.partition(":")[0]

    @property
    def decided(self) -> bool:
        """False when nothing can be said: the machine had no time for it, or a jail failed, more than once."""
        return self.status != _judge.UNDECIDED

    def to_dict(self) -> dict[str, Any]:
        """A "correctness" of docs/data.md: HumanEval's record (task_id, passed, result, which is the reason, and
        completion_id) and the rest. SpecError for an id that is no plain data."""
        from pyjail.records import head, pack

        return {
            **head("correctness"),
            "task_id": _values.write("task_id", self.task_id),
            "passed": self.passed,
            "result": pack(self.reason),
            "completion_id": _values.write("completion_id", self.completion_id),
            "printed": pack(self.printed),
            "candidate": self.candidate.to_dict(),
            "checker": self.checker.to_dict(),
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Correctness:
        """The inverse of `to_dict`. Raises SpecError for what is no such document."""
        from pyjail.records import check, reading, unpack

        d = check(d, "correctness")
        with reading("correctness"):
            candidate, checker = (Result.from_dict(d[name]) for name in ("candidate", "checker"))
            task_id, completion_id = (_values.read(d[name]) for name in ("task_id", "completion_id"))
            return cls(
                task_id, d["passed"], unpack(d["result"]), candidate, checker, completion_id, unpack(d["printed"])
            )


def check_correctness(
    problem: Mapping[str, Any],
    completion: str,
    timeout: float | str = 3.0,
    completion_id: Any = None,
    *,
    limits: Limits | None = None,
    jail: Jail | None = None,
    checker_limits: Limits | None = None,
    checker_jail: Jail | None = None,
    python: str | None = None,
    packages: bool = False,
) -> Correctness:
    """Whether a completion solves a problem, found out where the completion cannot reach.

    The completion runs in one jail, where calls come in as plain data and results go out; the tests run in another,
    with a stand-in for the function. See docs/grading.md for what that means for tests.

    Args:
        problem: HumanEval's fields: "task_id", "prompt", "entry_point" (the function's name) and "test" (source that
            defines ``check(candidate)``, or bare asserts). Trusted, the prompt too.
        completion: what the model wrote after the prompt. Not trusted.
        timeout: seconds of CPU time for the candidate's jail, its start and all calls included. On the clock it may
            take three times as long and 1 s. When it does because the machine was too busy to give it its time, it is
            tried once more with four times as much on the clock, and is "undecided" if that was not enough either.
        completion_id: for the result only.
        limits: of the candidate's jail; its times are cut to what ``timeout`` says. Default: 256 MiB of memory, 32
            processes, 1 MiB of output, 16 MiB of disk.
        jail: around the candidate. Default `Jail()`.
        checker_limits, checker_jail: of the tests. Default: 10 s longer, 512 MiB; the same kind of jail.
        python: the interpreter, inside the jails. Default: this one; python3 of a rootfs or an image.
        packages: completion and tests may import what is installed for that interpreter, such as numpy. Default False:
            its own library only; it starts faster without.

    Returns:
        A `Correctness`. Whatever the completion does is a reason, never an exception.

    Raises:
        SpecError: an argument makes no sense, such as a problem without its fields. A completion may be anything.
        HostError, SetupError, ExecError, OSError: no jail could be made, as from `pyjail.run`.

    >>> problem = {"task_id": "add", "prompt": "def add(a, b):\\n", "entry_point": "add",
    ...            "test": "def check(candidate):\\n    assert candidate(2, 3) == 5\\n"}
    >>> check_correctness(problem, "    return a + b\\n").passed
    True
    >>> check_correctness(problem, "    import os; print('passed'); os._exit(0)\\n").reason
    'crashed: it exited with 0, before it had answered'
    """
    where = _pair.setting(timeout, limits, jail, checker_limits, checker_jail, python, packages)
    if not isinstance(problem, Mapping):
        raise SpecError("problem", problem, "a mapping with HumanEval's fields is needed")
    fields: dict[str, str] = {}
    for name in ("prompt", "entry_point", "test"):
        value = problem.get(name)
        if not isinstance(value, str):
            raise SpecError("problem", name, "is not there, or no text")
        fields[name] = value
    entry_point(fields["entry_point"])
    if not isinstance(completion, str):
        raise SpecError("completion", completion, "str is needed")
    submission = {f"{MODULE}.py": _pair.submitted("completion", fields["prompt"] + completion)}
    job = _pair.job({"kind": "problem", "module": MODULE, **fields}, "problem")
    pair = _judge.decided(lambda patience: _pair.run(where, submission, job, patience=patience))
    status, detail, printed = _judge.end(pair)
    return Correctness(
        problem.get("task_id"), status == "passed", _judge.line(status, detail),
        pair.candidate, pair.checker, completion_id, printed,
    )  # fmt: skip


def entry_point(name: object) -> str:
    """A function's name; SpecError for anything else."""
    if not isinstance(name, str) or not name.isidentifier():
        raise SpecError("entry_point", name, "a function's name is needed")
    return name
