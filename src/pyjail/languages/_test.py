"""A test of a program, and how its output is compared: pure."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

from pyjail._base.errors import SpecError
from pyjail._base.shown import Shown
from pyjail._spec.jail import Limits
from pyjail._spec.toml import known, of
from pyjail.languages._judgement import points as worth


@dataclass(frozen=True, repr=False)
class Test(Shown):
    """What a program gets on stdin, and what it has to answer.

    Attributes:
        input: bytes, or text that becomes UTF-8, or the Path of a file, which is not read into this process. Default:
            empty.
        expected: what it has to print, bytes, text or a Path; None, the default: it only has to end with verdict OK.
        name: for the result; default its number, from "1" on, or the stem of a Path that is its input.
        limits: `Limits` of this test alone; default those of all tests.
        points: what it can earn. Default 1.

    >>> Test("3 4", "7").input
    b'3 4'
    """

    __test__: ClassVar[bool] = False  # no class of tests for pytest

    input: bytes | str | Any = b""
    expected: bytes | str | Any = None
    name: str | None = None
    limits: Limits | None = None
    points: float = 1.0

    def __post_init__(self) -> None:
        for field in ("input", "expected"):
            value = getattr(self, field)
            if isinstance(value, str):
                object.__setattr__(self, field, value.encode("utf-8", "surrogateescape"))
            elif isinstance(value, (bytearray, memoryview)):
                object.__setattr__(self, field, bytes(value))
            elif isinstance(value, os.PathLike):
                object.__setattr__(self, field, Path(value))
                if not os.path.isfile(value):
                    there = os.path.exists(value)
                    raise SpecError(f"tests.{field}", value, "is no file" if there else "there is no such file")
            elif not isinstance(value, bytes) and (value is not None or field == "input"):
                raise SpecError(f"tests.{field}", value, "bytes, str or a Path is needed")
        if self.name is not None and not isinstance(self.name, str):
            raise SpecError("tests.name", self.name, "text is needed")
        if self.limits is not None and not isinstance(self.limits, Limits):
            raise SpecError("tests.limits", self.limits, "a pyjail.Limits is needed")
        worth("tests.points", self.points)


Checker = Callable[[Test, bytes], bool]
AnyTest = Test | Sequence[bytes | str | os.PathLike[str] | None] | Mapping[str, Any]


def make_test(given: AnyTest, number: int) -> Test:
    """A `Test` from one, from (input, expected), or from a mapping of its attributes; with a name."""
    if isinstance(given, Mapping):
        known(f"tests[{number}]", dict(given), [f.name for f in fields(Test)])
        limits = given.get("limits")
        if isinstance(limits, Mapping):
            with of(f"tests[{number}].limits."):
                limits = Limits(**limits)
        with of(f"tests[{number}].", "tests."):
            given = Test(**{**given, "limits": limits})
    elif isinstance(given, (tuple, list)) and len(given) == 2:
        with of(f"tests[{number}].", "tests."):
            given = Test(*given)
    elif not isinstance(given, Test):
        raise SpecError(f"tests[{number}]", given, "a Test, (input, expected) or a mapping of its attributes is needed")
    if given.name is not None:
        return given
    return replace(given, name=given.input.stem if isinstance(given.input, Path) else str(number + 1))


@contextmanager
def content(value: Any, mapped: bool = False) -> Iterator[Any]:
    """The bytes of a test's file, or of the test itself; ``mapped``: the kernel keeps them, not this process."""
    if not isinstance(value, os.PathLike):
        yield value
        return
    with open(value, "rb") as f:
        if not mapped or not os.fstat(f.fileno()).st_size:
            yield f.read()
            return
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as pages:
            yield pages


CHUNK = 1 << 16  # split at once: a list of all words takes twenty times what they do
_SPACE = re.compile(rb"[ \t\n\r\f\v]")


def same_tokens(expected: bytes, output: bytes) -> bool:
    """The same words, whatever white space is between them.

    >>> same_tokens(b"1 2\\n3\\n", b"1\\n2  3"), same_tokens(b"12", b"1 2")
    (True, False)
    """
    return expected == output or _same(_tokens(expected), _tokens(output))


def same_lines(expected: bytes, output: bytes) -> bool:
    """The same lines, but for white space at their ends and empty lines at the end.

    >>> same_lines(b"1 2\\n", b"1 2  \\r\\n\\n"), same_lines(b"1 2\\n", b"1\\n2\\n")
    (True, False)
    """
    return expected == output or _same(_lines(expected.rstrip()), _lines(output.rstrip()))


def _same(one: Iterator[bytes], other: Iterator[bytes]) -> bool:
    return all(a == b for a, b in zip_longest(one, other))


def _tokens(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        space = _SPACE.search(data, at + CHUNK)
        end = space.start() if space else len(data)
        yield from data[at:end].split()
        at = end


def _lines(data: bytes) -> Iterator[bytes]:
    at = 0
    while at >= 0:
        end = data.find(b"\n", at + CHUNK)
        for line in data[at : end if end >= 0 else None].split(b"\n"):
            yield line.rstrip()
        at = end + 1 if end >= 0 else -1


def same_bytes(expected: bytes, output: bytes) -> bool:
    """Exactly the same."""
    return expected == output


COMPARE = {"tokens": same_tokens, "lines": same_lines, "exact": same_bytes}


def make_checker(given: Checker | str | None) -> Checker:
    """What decides whether an output is right: a name in `COMPARE` (default "tokens"), or the caller's own."""
    if given is not None and not isinstance(given, str):
        if not callable(given):
            raise SpecError(
                "checker",
                given,
                f"a compiled Program, a function (test, output) -> bool or one of {', '.join(COMPARE)}",
            )
        return given
    name = given or "tokens"
    known("checker", {name: name}, COMPARE)
    compare = COMPARE[name]

    def check(test: Test, output: bytes) -> bool:
        if test.expected is None:
            return True
        with content(test.expected, mapped=compare is same_tokens) as expected:
            return compare(expected, output)

    return check
