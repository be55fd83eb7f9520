"""What a pair of jails came to, in one status and one line. A check has passed only when all of it says so."""

from __future__ import annotations

from collections.abc import Callable

from pyjail import Result, Verdict, languages
from pyjail.grading._pair import Pair

STATUSES = ("passed", "failed", "timed out", "crashed", "forged", "refused", "broken")
UNDECIDED = "undecided"
OF_WALL = 0.8  # of the candidate's: tests that computed for so long have met its limit themselves
_TIMES = (Verdict.CPU_TIME, Verdict.WALL_TIME)
_SLOW_TESTS = "the tests themselves took too long"


def decided(attempt: Callable[[float], Pair], enough: Callable[[Pair], bool] = lambda pair: False) -> Pair:
    """The first try that says something of the submission, else the last. ``enough``: it does, whatever the end was."""

    def why(pair: Pair, watch: languages.Watch) -> str:
        return "" if enough(pair) or end(pair)[0] != UNDECIDED else pair.held

    return languages.patiently(attempt, why)[0]


def end(pair: Pair) -> tuple[str, str, str]:
    """(status, detail, what the tests printed)."""
    if pair.refused:
        return "refused", f"its files cannot be written: {pair.refused}", ""
    last = pair.reports[-1] if pair.reports else ()
    if len(last) == 4 and last[0] == "end" and last[1] in (*STATUSES, "gone"):
        status, detail, printed = str(last[1]), str(last[2]), writable(str(last[3]))
        if status == "gone":
            return (*how_it_ended(pair, "before it had answered"), printed)
        if status == "passed" and not pair.candidate.ok:  # the answers were right, and then it did not behave
            return (*how_it_ended(pair, "after its last answer"), printed)
        if status == "passed" and not pair.checker.ok:
            return (*_of_checker(pair, "the checker passed it, and then"), printed)
        return status, detail, printed
    if pair.candidate.verdict in _TIMES:
        return (*how_it_ended(pair, ""), "")
    return (*_of_checker(pair, "the checker ended without a report"), "")


def how_it_ended(pair: Pair, when: str) -> tuple[str, str]:
    """(status, detail) of a candidate that is gone though nobody sent it away."""
    if pair.held:
        return UNDECIDED, pair.held
    if pair.candidate.verdict in _TIMES:
        waited = pair.candidate.verdict is Verdict.WALL_TIME
        slow = waited and (pair.checker.usage.cpu_time or 0.0) > OF_WALL * (pair.candidate.limits.wall_time or 0.0)
        return "timed out", _SLOW_TESTS if slow else ""
    return "crashed", f"{_story(pair.candidate)}, {when}"


def _of_checker(pair: Pair, what: str) -> tuple[str, str]:
    if pair.held:
        return UNDECIDED, pair.held
    if pair.checker.verdict in _TIMES:
        return "timed out", _SLOW_TESTS
    return "broken", f"{what}: {_story(pair.checker)}"


def _story(r: Result) -> str:
    if r.verdict is Verdict.MEMORY:
        return "out of memory"
    if r.verdict is Verdict.OUTPUT:
        return "it printed more than Limits(output=) allows"
    if r.verdict is Verdict.SECURITY:
        return f"the filter ended it for {r.syscall}"
    if r.verdict is Verdict.JAIL_ERROR:
        return f"its jail failed: {r.error}"
    return f"killed by signal {r.signal}" if r.signal else f"it exited with {r.exit_code}"


def line(status: str, detail: str) -> str:
    """As HumanEval's ``result``: "passed", "timed out", or "failed: ..." and the like."""
    return f"{status}: {one_line(detail)}" if detail else status


def one_line(text: str) -> str:
    """A text that the candidate has a part in, as one line that can be printed: no line in a log is of its making."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def writable(text: str) -> str:
    """Without lone surrogates, which no file takes."""
    return text.encode("utf-8", "backslashreplace").decode()
