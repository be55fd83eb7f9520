"""THE table: what each verdict is in each face. Where another service says nothing, this is our choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyjail import Result, Verdict

SHELL = "code, or 128 + signal"
MINUS = "code, or minus signal"
NUMBER = "code, or signal"


@dataclass(frozen=True)
class Cell:
    """How a face tells a verdict.

    Attributes: ``code``: `SHELL`, `MINUS`, `NUMBER`, a number, or None. ``word``: its status, as the face calls it.
    ``http``: of the answer. ``text``: what stands where the program wrote nothing to stderr, with ``{limit}`` seconds.
    """

    code: str | int | None = SHELL
    word: str | int = ""
    http: int = 200
    text: str = ""


FACES = (
    "boxer", "codebox", "secure-sandbox", "go-judge", "piston", "judge0", "snekbox", "sandboxfusion",
)  # fmt: skip

_LATE = "Timeout Error. Exceeded {limit}s"
_EXPIRED = "Execution timed out"

_ROWS: Mapping[Verdict, tuple[Cell, ...]] = {
    Verdict.OK: (
        Cell(), Cell(), Cell(), Cell(NUMBER, "Accepted"), Cell(), Cell(word=3), Cell(), Cell(MINUS, "Finished"),
    ),
    Verdict.RUNTIME_ERROR: (
        Cell(), Cell(), Cell(), Cell(NUMBER, "Nonzero Exit Status"), Cell(word="RE"), Cell(word=11), Cell(),
        Cell(MINUS, "Finished"),
    ),
    Verdict.SIGNALED: (
        Cell(), Cell(), Cell(), Cell(NUMBER, "Signalled"), Cell(None, "SG"), Cell(word=12), Cell(),
        Cell(MINUS, "Finished"),
    ),
    Verdict.WALL_TIME: (
        Cell(http=408), Cell(-1, text=_LATE), Cell(-1, text=_EXPIRED), Cell(NUMBER, "Time Limit Exceeded"),
        Cell(None, "TO"), Cell(word=5), Cell(137), Cell(MINUS, "TimeLimitExceeded"),
    ),
    Verdict.CPU_TIME: (
        Cell(http=408), Cell(137), Cell(-1, text=_EXPIRED), Cell(NUMBER, "Time Limit Exceeded"),
        Cell(None, "TO"), Cell(word=5), Cell(137), Cell(MINUS, "TimeLimitExceeded"),
    ),
    Verdict.MEMORY: (
        Cell(137), Cell(137), Cell(137), Cell(NUMBER, "Memory Limit Exceeded"),
        Cell(None, "SG", text="the memory limit was met"), Cell(word=12, text="the memory limit was met"), Cell(137),
        Cell(-9, "Finished"),
    ),
    Verdict.OUTPUT: (
        Cell(http=507), Cell(), Cell(), Cell(NUMBER, "Output Limit Exceeded"),
        Cell(None, "OL"), Cell(word=8), Cell(143), Cell(MINUS, "Finished"),
    ),
    Verdict.SECURITY: (
        Cell(159), Cell(159), Cell(159), Cell(NUMBER, "Dangerous Syscall"),
        Cell(None, "SG"), Cell(word=12, text="a system call that is refused"), Cell(159), Cell(-31, "Finished"),
    ),
    Verdict.JAIL_ERROR: (
        Cell(http=500), Cell(http=500), Cell(http=500), Cell(NUMBER, "Internal Error"),
        Cell(None, "XX"), Cell(word=13), Cell(http=500), Cell(None, "SandboxError"),
    ),
}  # fmt: skip

TABLE: Mapping[Verdict, Mapping[str, Cell]] = {
    verdict: dict(zip(FACES, row, strict=True)) for verdict, row in _ROWS.items()
}


def told(face: str, result: Result[Any]) -> tuple[Cell, int | None]:
    """The cell of this verdict, and the exit code that it says."""
    cell = TABLE[result.verdict][face]
    return cell, cell.code if cell.code is None or isinstance(cell.code, int) else _code(result, cell.code)


def _code(result: Result[Any], rule: str) -> int:
    if result.exit_code is not None:
        return result.exit_code
    signal = result.signal or 9  # who was ended by a limit was killed
    return {SHELL: 128 + signal, MINUS: -signal, NUMBER: signal}[rule]
