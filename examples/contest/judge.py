"""Judge a small contest with pyjail: compile each submission inside a jail, run it on every test, print one table.

./dev demo [SUBMISSION]...
"""

from __future__ import annotations

import sys
from pathlib import Path

from problems import problems
from rich.console import Console
from rich.progress import track
from rich.table import Table

import pyjail
from pyjail import Jail, Judgement, JudgeVerdict, Limits

SUBMISSIONS = Path(__file__).resolve().parent / "submissions"
RUN = Limits(cpu_time=2, wall_time=20, memory="64M", processes=16, output="1M")
# What each submission is known to deserve. "a|b": which of them comes first is the machine's choice (a busy one frees the
# memory of dead processes later than a bomb makes new ones).
EXPECTED = {
    "sum_ok.c": "ok", "sum_ok.py": "ok", "sum_ok.java": "ok", "sum_ok.js": "ok", "sum_ok.rs": "ok",
    "sum_wrong_overflow.c": "wrong_answer", "sum_does_not_compile.cpp": "compile_error",
    "sum_includes_shadow.c": "compile_error", "sum_flood.c": "output", "sum_fork_bomb.c": "cpu_time|memory|wall_time",
    "sum_network.py": "runtime_error", "sum_snoop.py": "runtime_error", "lis_ok.cpp": "ok", "lis_slow.py": "cpu_time",
    "lis_hungry.cpp": "memory", "lis_crash.cpp": "signaled", "maze_ok.cpp": "ok", "maze_ok.py": "ok",
    "maze_wrong_greedy.py": "wrong_answer", "maze_recursion.py": "runtime_error",
}  # fmt: skip

# Not to be tried where nothing keeps them within this limit: they would take the machine's.
ONLY_WITHIN = {"sum_fork_bomb.c": "processes", "lis_hungry.cpp": "memory"}


def ground() -> tuple[Jail, frozenset[str]]:
    """The jail to judge in, and the limits that this machine cannot enforce for us."""
    jail = Jail()
    try:
        pyjail.run(["true"], RUN, jail=jail)
        return jail, frozenset()
    except pyjail.HostError as e:
        jail = Jail(strict=False)
        missing = frozenset(row.name for row in pyjail.run(["true"], RUN, jail=jail).receipt.not_enforced)
        print(f"Judging without {', '.join(sorted(missing))}: {e.cause}.", file=sys.stderr)
        print("All of it: sudo ./dev demo. More ways: .venv/bin/pyjail doctor", file=sys.stderr)
        return jail, missing


def why(judged: Judgement) -> str:
    """A few words about what failed."""
    if judged.verdict is JudgeVerdict.COMPILE_ERROR and judged.compile is not None:
        lines = judged.compile.stderr.decode("utf-8", "replace").splitlines()
        return next((line[:60] for line in lines if "error" in line), judged.compile.verdict.value)
    failed = next((row for row in judged.results if not row.passed), None)
    if failed is None or failed.result is None:
        return ""
    r = failed.result
    hit = f" at {', '.join(sorted(r.limits_hit))}" if r.limits_hit else ""
    return f"test {failed.name}: {f'signal {r.signal}' if r.signal else f'exit {r.exit_code}'}{hit}"


def main() -> int:
    try:
        jail, lacking = ground()
    except pyjail.JailError as e:
        print(
            f"No jail can be made here: {e}\nWhat is missing, layer by layer: .venv/bin/pyjail doctor", file=sys.stderr
        )
        return 1
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title="A small contest, judged in jails")
    for column in ("submission", "verdict", "expected", "tests", "CPU s", "wall s", "peak MiB", "detail"):
        table.add_column(column, justify="right" if column in ("tests", "CPU s", "wall s", "peak MiB") else "left")
    contest, missing, right, total = problems(), [], 0, 0.0
    chosen = {name: expected for name, expected in EXPECTED.items() if not sys.argv[1:] or name in sys.argv[1:]}
    terminal = Console(stderr=True)
    for name, expected in track(
        chosen.items(), "judging", console=terminal, transient=True, disable=not terminal.is_terminal
    ):
        if ONLY_WITHIN.get(name) in lacking:
            missing.append(f"{name} (needs a limit on {ONLY_WITHIN[name]})")
            continue
        tests = contest[name.partition("_")[0]].tests
        try:
            judged = pyjail.judge_source(name, SUBMISSIONS / name, tests, RUN, jail=jail, stop_on_failure=True)
        except pyjail.HostError as e:
            if e.control != "language":
                raise
            missing.append(f"{name} ({e.hint})")
            continue
        usage = [row.result.usage for row in judged.results if row.result is not None]
        cpu, wall, memory = (
            max((getattr(u, field) or 0 for u in usage), default=0)
            for field in ("cpu_time", "wall_time", "memory_peak")
        )
        fine = judged.verdict in expected.split("|")
        right, total = right + fine, total + cpu
        colour = "green" if fine else "bold red"
        passed = f"{sum(row.passed for row in judged.results)}/{len(tests)}"
        figures = (f"{cpu:.3f}", f"{wall:.3f}", f"{memory / 1048576:.1f}")
        table.add_row(name, f"[{colour}]{judged.verdict}[/]", expected, passed, *figures, why(judged))
    console.print(table)
    count = len(chosen) - len(missing)
    console.print(
        f"{right} of {count} submissions got the verdict they deserve; {total:.1f} s of CPU at most per test, summed"
    )
    if missing:
        console.print(f"not judged: {', '.join(missing)}")
    return 0 if right == count else 1


if __name__ == "__main__":
    sys.exit(main())
