"""``python -m tests.together NAME COMMAND [--- NAME COMMAND]...``: several commands at the same time.

What each prints is shown when it has ended; at the end what pytest says of each test that failed, and the last lines of
all. Fails when one does. Much of what tests
do is to wait: for limits, for programs that sleep. A line of ``---`` words is between two commands.
"""

from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, NamedTuple

SEPARATOR = "---"
FAILURES = ("FAILED ", "ERROR ")  # as lines of pytest's summary begin


class Part(NamedTuple):
    """One command that was started."""

    name: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    began: float
    cpu: float = 0.0  # s, of it and of all that it has waited for


def commands(arguments: list[str]) -> dict[str, list[str]]:
    """{name: command}"""
    groups = [list(words) for last, words in itertools.groupby(arguments, SEPARATOR.__eq__) if not last]
    return {name: command for name, *command in groups}


def start(name: str, command: list[str]) -> Part:
    output = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the part)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    return Part(name, process, output, time.monotonic())


def show(part: Part) -> tuple[list[str], str]:
    """Print what it has printed; what pytest says of each test that failed in it, and its summary."""
    part.output.seek(0)
    text = part.output.read().decode(errors="replace").rstrip()
    print(f"==== {part.name} ====\n{text}\n", flush=True)
    code = part.process.returncode
    lines = text.splitlines()
    last = lines[-1] if text else ""
    failed = [line for line in lines if code and line.startswith(FAILURES)]
    return (
        failed,
        f"{part.name}: {f'failed ({code})' if code else 'passed'} in {time.monotonic() - part.began:.0f} s ({part.cpu:.0f} s of CPU): {last}",
    )


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def together(arguments: list[str]) -> int:
    """Run them; the exit code of the first that failed, in the order given."""
    began, told = time.monotonic(), 0
    parts = [start(name, command) for name, command in commands(arguments).items()]
    left = list(parts)
    summaries: dict[str, tuple[list[str], str]] = {}
    try:
        while left:
            for part in list(left):
                before = _cpu()
                if part.process.poll() is not None:
                    left.remove(part)
                    summaries[part.name] = show(part._replace(cpu=_cpu() - before))
            time.sleep(0.05)
            if left and (minutes := int(time.monotonic() - began) // 60) > told:
                told = minutes
                print(f"{minutes} min: {', '.join(part.name for part in left)}", flush=True)
    except BaseException:
        for part in left:
            if (
                not sys.stdin.isatty()
            ):  # a terminal has sent it to all already; a second one would stop pytest's own end
                part.process.send_signal(signal.SIGINT)
        for part in left:
            part.process.wait()
            show(part)
        raise
    shown = [summaries[part.name] for part in parts]
    for line in (*(line for failed, _ in shown for line in failed), *(f"---- {summary} ----" for _, summary in shown)):
        print(line, flush=True)
    return next((code if code > 0 else 1 for part in parts if (code := part.process.returncode)), os.EX_OK)


def _end(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        sys.exit(together(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
