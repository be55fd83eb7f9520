"""What the shell sees of a run: exit codes, and one line about an end that needs a word."""

from __future__ import annotations

import signal
import sys

from pyjail import Result, Verdict

EXIT_BAD, EXIT_LIMIT, EXIT_FAILED, EXIT_CANNOT_EXECUTE, EXIT_NOT_FOUND = 1, 124, 125, 126, 127
EXIT_PIPE = 128 + signal.SIGPIPE
ENDED_BY_LIMIT = (Verdict.CPU_TIME, Verdict.WALL_TIME, Verdict.MEMORY, Verdict.OUTPUT)
_SILENT = (signal.SIGINT, signal.SIGPIPE)  # as in a shell: who sent them knows


def exit_code(result: Result) -> int:
    """What the shell sees of a result."""
    if result.verdict is Verdict.JAIL_ERROR:
        return EXIT_FAILED
    if result.verdict in ENDED_BY_LIMIT:
        return EXIT_LIMIT
    return 128 + result.signal if result.signal is not None else result.returncode


def remark(result: Result) -> str | None:
    """The line to show about a result, when its exit code does not say all of it."""
    if result.verdict is Verdict.SIGNALED and result.signal in _SILENT and not result.limits_hit:
        return None
    if result.verdict in (Verdict.OK, Verdict.RUNTIME_ERROR) and not result.limits_hit:
        return None
    return explain(result)


def say(text: str, prefix: str = "pyjail: ") -> None:
    """A line on stderr; nowhere when that is closed: print() would take stdout then."""
    if sys.stderr is not None:
        print(f"{prefix}{text}", file=sys.stderr)


def printable(text: str) -> str:
    """A name that a program chose, on one line, and without control sequences for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def size(value: int | None) -> str:
    """Bytes as one would type them: 1048576 -> "1M"; None -> "none"."""
    if value is None:
        return "none"
    for power, unit in enumerate("PTGMK"):
        if value and value % (1 << 50 - 10 * power) == 0:
            return f"{value >> 50 - 10 * power}{unit}"
    return str(value)


def explain(result: Result) -> str:
    """One line about how a run ended."""
    more = {
        Verdict.SECURITY: f" ({result.syscall})",
        Verdict.JAIL_ERROR: f" ({result.error})",
        Verdict.SIGNALED: f" ({_signal(result)})",
    }.get(result.verdict, "")
    hit = sorted(set(result.limits_hit) - {result.verdict.value})
    refused = f", refused at {', '.join('--' + name.replace('_', '-') for name in hit)}" if hit else ""
    usage = result.usage
    return (
        f"{result.verdict.value}{more}{refused}: cpu {usage.cpu_time or 0:.3f} s, wall {usage.wall_time or 0:.3f} s, "
        f"memory peak {(usage.memory_peak or 0) / 1048576:.1f} MiB"
    )


def _signal(result: Result) -> str:
    number = result.signal or 0
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number == signal.SIGXFSZ and result.limits.file_size is not None:
        name += f", a file grew beyond --file-size {size(result.limits.file_size)}"
    return name
