"""Facts -> verdict. Pure. Decided by kernel counters and the keeper's own notes, never by guessing
from an exit code."""

from __future__ import annotations

import functools
import os
import signal

from pyjail._base import lazy
from pyjail._base.errors import HostError
from pyjail._base.records import NamedTuple
from pyjail._plan.compile import RunLimits
from pyjail._plan.report import Facts
from pyjail._plan.wire import damaged
from pyjail._result.verdict import Verdict
from pyjail._spec.jail import Limits


class Evidence(NamedTuple):
    """What the facts say, before precedence: each field is one counter or note."""

    trip: str = "none"
    oom_kills: int = 0
    outside_kills: int = 0  # by the OOM killer, while this run was within its own limit
    lost: bool = False  # a file that a limit rests on could not be read at the end
    starved: bool = False  # setting up or execve failed for lack of memory
    cpu_time: float | None = None
    cpu_limit: float | None = None
    wall_time: float | None = None
    wall_limit: float | None = None
    written: int = 0
    output_limit: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    executed: bool = True
    cpu_signal: bool = False  # RLIMIT_CPU ended it, where there is no other clock


def evidence(
    facts: Facts, limits: Limits, starved: bool = False, oom_kills: int = 0, outside_kills: int = 0, lost: bool = False
) -> Evidence:
    """What these facts say. One call: it is on the way of every run."""
    status, cpu, output = facts.status, facts.cpu, facts.out_total
    code, sig = (0, None) if status == 0 else exit_of(status)
    started, ended = facts.started, facts.ended
    found = (
        facts.trip, oom_kills, outside_kills, lost, starved,
        cpu_time(facts) if cpu is None else cpu // 1000 / 1e6, limits.cpu_time,
        (ended - started) / 1e9 if started and ended >= started else None, limits.wall_time,
        output[0] if output[0] > output[1] else output[1], limits.output,
        code, sig, facts.executed, cpu is None and sig == signal.SIGXCPU and _by_rlimit(facts, limits.cpu_time),
    )  # fmt: skip
    return tuple.__new__(Evidence, found)


def _by_rlimit(facts: Facts, limit: float | None) -> bool:
    """Whether a SIGXCPU is the kernel's. RLIMIT_CPU counts ticks, at twice the limit; who sends it to himself has not
    used nearly as much."""
    return limit is not None and cpu_time(facts) >= limit / 2


def decide(e: Evidence) -> Verdict:
    """The verdict: the first of these that holds."""
    ended = e.exit_code is not None or e.signal is not None
    # The program's process ended before execve, and no limit did it.
    unexplained = not e.executed and e.trip == "none" and not e.oom_kills and not e.starved
    # Something other than this run's own limits decided how it ended: nothing can be said of the program.
    outside = e.outside_kills > 0 or e.lost
    if not ended or unexplained or outside:
        return Verdict.JAIL_ERROR
    if e.trip == "security":
        return Verdict.SECURITY
    if e.oom_kills > 0 or e.starved or e.trip == "memory":
        return Verdict.MEMORY
    used_up = e.cpu_time is not None and e.cpu_limit is not None and e.cpu_time >= e.cpu_limit
    if e.trip == "cpu" or used_up or e.cpu_signal:
        return Verdict.CPU_TIME
    if e.trip == "wall" or (e.wall_time is not None and e.wall_limit is not None and e.wall_time >= e.wall_limit):
        return Verdict.WALL_TIME
    if e.trip == "output" or (e.output_limit is not None and e.written > e.output_limit):
        return Verdict.OUTPUT
    if e.signal is not None:
        return Verdict.SIGNALED
    return Verdict.OK if e.exit_code == 0 else Verdict.RUNTIME_ERROR


class Reading:
    """The cgroup texts of one run, by file name. A leaf may have served runs before: what only counts up is told
    without what it was then."""

    def __init__(self, facts: Facts, run: RunLimits) -> None:
        self.texts: dict[str, list[tuple[str, str]]] = {}  # (at the end, at the start or "")
        texts, rows, before = self.texts, run.cgroup, facts.before
        for i, text in sorted(facts.reads.items()):
            if i < len(rows):
                texts.setdefault(rows[i].file, []).append((text, before.get(i, "")))

    def number(self, name: str) -> int | None:
        if name not in self.texts:
            return None
        text, before = self.texts[name][0]
        now = number_of(text)
        return None if now is None else now - number_in(before) if before else now

    def before(self, *names: str) -> int | None:
        """The number that the first of these files held at the start; 0 in a new leaf, None without such a file."""
        found = next((self.texts[name][0][1] for name in names if name in self.texts), None)
        return None if found is None else number_in(found or "0")

    def value(self, name: str, key: str) -> int | None:
        """The number after ``key`` in a file of "key value" lines: in the first file of that name that has it."""
        for text, before in self.texts.get(name, ()):
            now = _entry(text, key)
            if now is not None:
                return now - (_entry(before, key) or 0) if before else now
        return None

    def total(self, name: str, key: str) -> int | None:
        """The sum of all ``key=number`` words in a file."""
        if name not in self.texts:
            return None
        text, before = self.texts[name][0]
        return _total(text, key) - _total(before, key)


def _entry(text: str, key: str) -> int | None:
    if len(text) <= _SHORT:
        return _entries(text).get(key)
    head = f"\n{key} "
    if text.startswith(head[1:]):
        at = len(head) - 1
    elif (at := text.find(head)) >= 0:
        at += len(head)
    else:
        return None
    end = text.find("\n", at)
    number = text[at : end if end >= 0 else None]
    return int(number) if _is_number(number) else None


_SHORT = 512  # characters of a file of which all lines are read for the sake of one


@functools.lru_cache(16)
def _entries(text: str) -> dict[str, int]:
    """What a short file says: it is asked for several times in a row, and what counts what went wrong says the same
    after most runs."""
    lines = [line.partition(" ") for line in text.split("\n")]
    return {key: int(number) for key, _, number in lines if _is_number(number)}


def _total(text: str, key: str) -> int:
    return sum(number_in(word[len(key) + 1 :]) for word in text.split() if word.startswith(key + "="))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20  # of 64 bits


def number_in(text: str) -> int:
    """A number as the kernel writes it."""
    number = number_of(text)
    if number is None:
        raise damaged(f"{text[:40]!r} for a number")
    return number


def number_of(text: str) -> int | None:
    """The number that the text is; None when it is none."""
    number = text.strip()  # which takes more for blanks than int does
    return int(number) if _is_number(number) else None


def first(*values: int | None) -> int | None:
    """The first that is known."""
    for value in values:
        if value is not None:
            return value
    return None


def cpu_time(facts: Facts) -> float:
    """s of the whole tree, by the leaf's clock; without one, of those processes that somebody waited for."""
    if facts.cpu is not None:
        return facts.cpu // 1000 / 1e6  # as `evidence` has it
    return (facts.rusage[0] + facts.rusage[1]) / 1e6


NEAR = 1 << 18  # what a charge of several pages may miss the limit by


def oom_kills(reading: Reading, limit: int | None) -> tuple[int, int]:
    """Processes of this run that the kernel killed for memory: (for its own limit, for one above or the machine's).

    memory.events counts in "oom" how often this cgroup's own limit left no way out, in "oom_kill" its processes
    that died, for whatever limit (cgroup-v2.rst). v1 has no "oom" (and failcnt stays 0 in some kernels): there the
    watermark says whether the limit was reached.
    """
    kills = first(reading.value("memory.events", "oom_kill"), reading.value("memory.oom_control", "oom_kill")) or 0
    own = reading.value("memory.events", "oom")
    if own is None and limit is not None:
        marks = (
            "memory.max_usage_in_bytes",
            "memory.memsw.max_usage_in_bytes",
        )  # with swap the second may be met alone
        own = max(reading.number(mark) or 0 for mark in marks) >= limit - NEAR
    return (kills, 0) if own else (0, kills)


_RESTS_ON = {"memory": ("memory.",), "processes": ("pids.",), "cpu_time": ("cpu.stat", "cpuacct.usage")}


def lost_files(facts: Facts, run: RunLimits) -> dict[str, int]:
    """Files under a limit of this run that the leaf had at its start and that could not be read at its end: their
    errno, or 0 when the report had no room for them."""
    if facts.failure is not None:
        return {}
    asked = tuple(p for name, files in _RESTS_ON.items() if getattr(run.limits, name) is not None for p in files)
    return {
        row.file: facts.unread.get(i, 0)
        for i, row in enumerate(run.cgroup)
        if row.when in ("read", "watch", "clock") and row.file.startswith(asked) and i not in facts.reads
    }


def starved(facts: Facts, run: RunLimits, memory_total: int) -> bool:
    """Setting up or execve failed because the memory limit (or the machine) is too small for the program."""
    failure = facts.failure
    if failure is None and facts.status == 0:
        return False
    if failure is not None:
        if failure.errno == 12:  # ENOMEM
            return True
        if failure.step == "cgroup" and failure.errno == 16 and failure.index is not None:  # v1: EBUSY below usage
            return failure.index < len(run.cgroup) and run.cgroup[failure.index].limit == "memory"
        return False
    # execve past its point of no return has no errno to give: the kernel kills with SIGSEGV. The segments say why.
    bound = min(memory_total, run.limits.address_space or memory_total)
    died = facts.trip == "none" and facts.status is not None and facts.status & 0x7F == signal.SIGSEGV
    return died and facts.image > int(bound)


def exit_of(status: int | None) -> tuple[int | None, int | None]:
    """(exit code, signal) of a wait status; with none known, everything was killed: SIGKILL."""
    if status == 0:
        return 0, None
    if status is None:
        return None, int(signal.SIGKILL)
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    return os.WEXITSTATUS(status), None


def syscall_name(facts: Facts) -> str | None:
    """What the filter ended the run for."""
    if facts.syscall == -1:  # its caller died before the keeper could ask which
        return None
    try:
        with lazy.lock:
            from pyjail._policy.seccomp import name_of

        return name_of(facts.arch, facts.syscall)
    except (ImportError, HostError, OSError):  # no libseccomp, or no fd left to load it: no reason to lose a run
        return f"syscall {facts.syscall & 0xFFFFFFFF}"
