"""The self-test of a language: one program that does what its first line asks, and the verdict that it has to get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyjail._base.errors import SpecError
from pyjail._base.shown import Shown
from pyjail._spec.jail import Jail, Limits
from pyjail.languages._judge import judge_source
from pyjail.languages._judgement import JudgeVerdict, TestResult
from pyjail.languages._language import Language
from pyjail.languages._test import Test

LIMITS = Limits(cpu_time=30, wall_time=120, memory="256M", processes=64, cpus=1)
_STDERR = 300  # bytes told of what went wrong
# What each is asked, and answers; None: the verdict is all that counts.
ASKED: dict[str, tuple[str, str | None]] = {
    "hello": ("hello\n", "hello\n"),
    "stdin": ("stdin\n3 4 5\n", "12\n"),
    "exception": ("exception\n", None),
    "memory": ("memory\n", None),
    "threads": ("threads\n", f"{4 * sum(range(1000))}\n"),
    "cpus": ("cpus\n", "1\n"),
}


@dataclass(frozen=True, repr=False)
class Check(Shown):
    """One self-test of a language: ``verdict`` is what it got, ``expected`` what it has to get.

    ``detail``: what the program or the compiler said, when it got another.
    """

    name: str
    verdict: JudgeVerdict
    expected: JudgeVerdict
    detail: str = ""

    def _words(self) -> Iterator[str]:
        yield f"{self.name}: {self.verdict.value}" + ("" if self.ok else f" instead of {self.expected.value}")
        if self.detail:
            yield f"detail={self.detail[:100]!r}"

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes."""
        return {**super().to_dict(), "ok": self.ok}

    @property
    def ok(self) -> bool:
        """Whether it got the right verdict."""
        return self.verdict is self.expected


def check(language: Language, *, jail: Jail | None = None) -> tuple[Check, ...]:
    """Compile and run the language's own test program: hello, stdin, an exception that nobody catches, memory without
    end, threads, and the number of CPUs that it counts. Under 256 MiB, 64 processes, one CPU.

    Args:
        language: `Language`; it needs a ``check`` program.
        jail: default `Jail()`.

    Raises:
        SpecError: there is no such program. HostError: a tool is missing. Otherwise as `judge_source`.

    >>> from pyjail import languages
    >>> [c.name for c in languages.check(languages.find("bash")) if c.ok]
    ['hello', 'stdin', 'exception', 'memory', 'threads', 'cpus']
    """
    if not language.check:
        raise SpecError("check", language.name, "this language has no program for it")
    tests = [Test(asked, answer, name) for name, (asked, answer) in ASKED.items()]
    judged = judge_source(language, Path(language.check), tests, LIMITS, jail=jail)
    wanted = {"exception": JudgeVerdict(language.crash), "memory": JudgeVerdict.MEMORY}
    said = "" if judged.compile is None else _text(judged.compile.stderr or judged.compile.stdout)
    return tuple(_row(row, wanted.get(row.name, JudgeVerdict.OK), said) for row in judged.results)


def _row(row: TestResult, expected: JudgeVerdict, compiler: str) -> Check:
    detail = ""
    if row.verdict is not expected:
        detail = compiler if row.result is None else _text(row.result.stderr or row.result.stdout)
    return Check(row.name, row.verdict, expected, detail)


def _text(said: bytes) -> str:
    return " ".join(said[:_STDERR].decode("utf-8", "replace").split())
