"""``python -m tests.together [--at-once N] [--within S] [--again N] NAME COMMAND [--- NAME COMMAND]...``: several commands at the same time.

``--at-once``: no more than so many; the next one begins when one has ended. Default: all. ``--within S``: who takes longer
is asked where it is (SIGABRT: Python's faulthandler, which pytest has on, tells of all threads), and ended. ``--again N``: if pytest
says of N tests at most that they failed, they are run once more when all have ended; who passes then is told as "FAILURE then SUCCESS", as
by CPython's own regrtest: a fault to be mended, but not one of what was changed last. Those of tests/escape have no second time.
``--parts N NAME COMMAND`` stands for N of them, with ``--part=K/N`` at the end of each.
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
DUMP_S = 10.0  # for what SIGABRT has a process say
FAILURES = ("FAILED ", "ERROR ")  # as lines of pytest's summary begin
ONLY = "PYJAIL_TEST_ONLY"  # of the environment: the only tests that run, a line each (tests/conftest.py)
NEVER_AGAIN = "tests/escape/"


class Part(NamedTuple):
    """One command that was started."""

    name: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    began: float
    cpu: float = 0.0  # s, of it and of all that it has waited for


def commands(arguments: list[str]) -> dict[str, list[str]]:
    """{name: command}"""
    found: dict[str, list[str]] = {}
    for last, words in itertools.groupby(arguments, SEPARATOR.__eq__):
        name, *command = words
        if name == "--parts":
            number, name, *command = command
            for k in range(1, int(number) + 1):
                found[f"{name}, {k} of {number}"] = [*command, f"--part={k}/{number}"]
        elif not last:
            found[name] = command
    return found


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


def overdue(part: Part, within: float) -> None:
    """End it, if it has taken longer than so many seconds; what it was doing is in its output."""
    late = time.monotonic() - part.began - within
    if late > 0:
        part.process.send_signal(signal.SIGABRT if late < DUMP_S else signal.SIGKILL)


def named(failed: list[str]) -> list[str]:
    """The tests that lines of pytest's summary are about."""
    return list(dict.fromkeys(line.partition(" ")[2].partition(" - ")[0] for line in failed))


def again(part: str, command: list[str], tests: list[str]) -> bool:
    """Whether these tests of a part pass when they are run once more."""
    print(f"==== {part}, once more: {', '.join(tests)} ====", flush=True)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, env={**os.environ, ONLY: "\n".join(tests)}, check=False)
    return done.returncode == 0


def together(arguments: list[str]) -> int:
    """Run them; the exit code of the first that failed, in the order given."""
    options = {"--at-once": float(len(arguments)), "--within": float("inf"), "--again": 0.0}
    while arguments[0] in options:
        option, number, *arguments = arguments
        options[option] = float(number)
    at_once, within = options["--at-once"], options["--within"]
    began, told = time.monotonic(), 0
    names, waiting = list(commands(arguments)), list(commands(arguments).items())
    left: list[Part] = []
    codes: dict[str, int] = {}
    summaries: dict[str, tuple[list[str], str]] = {}
    try:
        while left or waiting:
            while waiting and len(left) < at_once:
                left.append(start(*waiting.pop(0)))
            for part in list(left):
                overdue(part, within)
                before = _cpu()
                if (code := part.process.poll()) is not None:
                    left.remove(part)
                    codes[part.name] = code
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
    failing = {name: named(summaries[name][0]) for name in names if codes[name]}
    every = [test for tests in failing.values() for test in tests]
    if len(every) <= options["--again"] and all(failing.values()) and NEVER_AGAIN not in "\n".join(every):
        for name, tests in failing.items():
            if again(name, commands(arguments)[name], tests):
                codes[name], summary = 0, summaries[name][1]
                summaries[name] = [f"FAILURE then SUCCESS: {test}" for test in tests], summary
    shown = [summaries[name] for name in names]
    for line in (*(line for failed, _ in shown for line in failed), *(f"---- {summary} ----" for _, summary in shown)):
        print(line, flush=True)
    return next((code if code > 0 else 1 for name in names if (code := codes[name])), os.EX_OK)


def _end(*_: object) -> None:
    raise KeyboardInterrupt


def stoppable() -> None:
    """Signals that end this process end what it has started first."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)


if __name__ == "__main__":
    stoppable()
    try:
        sys.exit(together(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
