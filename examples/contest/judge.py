"""Judge a small contest with pyjail: compile each submission inside a jail, run it on every test, print one table.

./dev demo
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from problems import Problem, problems
from rich.console import Console
from rich.table import Table

import pyjail
from pyjail import File, Jail, Limits, Mount, Result, Verdict

HERE = Path(__file__).resolve().parent
COMPILE = Limits(cpu_time=30, wall_time=60, memory="1G", disk="128M", file_size="128M", cpus=None)
RUN = Limits(cpu_time=2, wall_time=6, memory="64M", processes=16, output="1M")
# A JVM or Node reserves and starts more before it begins: threads for its compiler and collector, a heap.
RUNTIME = Limits(cpu_time=4, wall_time=12, memory="256M", processes=64, output="1M", cpus=None)


@dataclass(frozen=True)
class Language:
    """How to compile and run: {src} is the file inside the jail."""

    tool: str
    source: str
    compile: tuple[str, ...]
    artefacts: tuple[str, ...]
    run: tuple[str, ...]
    limits: Limits = RUN
    jail: Jail = field(default_factory=Jail)


def languages() -> dict[str, Language]:
    """The languages whose tools are installed here."""
    found = {
        ".c": Language("gcc", "a.c", ("gcc", "-O2", "-w", "-o", "a", "a.c"), ("a",), ("./a",)),
        ".cpp": Language("g++", "a.cpp", ("g++", "-O2", "-w", "-std=c++17", "-o", "a", "a.cpp"), ("a",), ("./a",)),
        ".py": Language(sys.executable, "a.py", (), ("a.py",), (sys.executable, "-I", "a.py")),
        ".java": Language("javac", "Main.java", ("javac", "-J-XX:+UseSerialGC", "Main.java"), ("*.class",),
                          ("java", "-XX:+UseSerialGC", "-Xmx128m", "-Xss1m", "-XX:TieredStopAtLevel=1", "Main"), RUNTIME),
        ".js": Language("node", "a.js", (), ("a.js",), ("node", "--max-old-space-size=128", "a.js"), RUNTIME),
    }  # fmt: skip
    if shutil.which("rustc"):
        out = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True)
        if out.returncode == 0:
            root = out.stdout.strip()
            jail = Jail(mounts=() if root.startswith("/usr") else (Mount.bind(root),))
            found[".rs"] = Language(
                "rustc", "a.rs", (f"{root}/bin/rustc", "-O", "-o", "a", "a.rs"), ("a",), ("./a",), jail=jail
            )
    return {ext: lang for ext, lang in found.items() if shutil.which(lang.tool)}


@dataclass(frozen=True)
class Outcome:
    """A submission's worst verdict, and the largest figures over its tests."""

    verdict: str
    detail: str
    cpu: float
    wall: float
    memory: int
    passed: int


def judge(source: Path, language: Language, problem: Problem) -> Outcome:
    """Compile once, run on each test until one fails."""
    files = {language.source: source.read_bytes()}
    if language.compile:
        made = pyjail.run(
            language.compile,
            COMPILE,
            jail=language.jail,
            files=files,
            collect=language.artefacts,
            env={"PATH": "/usr/bin:/bin", "TMPDIR": "/tmp"},
        )
        if not made.ok:
            first = made.stderr.decode("utf-8", "replace").strip().splitlines()[:1] or [made.verdict.value]
            return Outcome("compile_error", first[0][:60], 0, 0, 0, 0)
        files = {name: File(data, 0o755) for name, data in made.files.items()}
    cpu = wall = 0.0
    memory = 0
    for number, (given, expected) in enumerate(problem.tests):
        r = pyjail.run(language.run, language.limits, files=files, input=given.encode())
        cpu, wall = max(cpu, r.usage.cpu_time or 0), max(wall, r.usage.wall_time or 0)
        memory = max(memory, r.usage.memory_peak or 0)
        verdict = r.verdict.value
        if r.verdict is Verdict.OK and r.stdout.split() != expected.encode().split():
            verdict = "wrong_answer"
        if verdict != "ok":
            return Outcome(verdict, f"test {number + 1}: {why(r)}", cpu, wall, memory, number)
    return Outcome("ok", "", cpu, wall, memory, len(problem.tests))


def why(r: Result) -> str:
    """A few words about a failed run."""
    hit = f" at {', '.join(sorted(r.limits_hit))}" if r.limits_hit else ""
    end = f"signal {r.signal}" if r.signal else f"exit {r.exit_code}"
    return end + hit


# What each submission is known to deserve. "a|b": which of the two comes first is the machine's choice.
EXPECTED = {
    "sum_ok.c": "ok", "sum_ok.py": "ok", "sum_ok.java": "ok", "sum_ok.js": "ok", "sum_ok.rs": "ok",
    "sum_wrong_overflow.c": "wrong_answer", "sum_does_not_compile.cpp": "compile_error",
    "sum_includes_shadow.c": "compile_error", "sum_flood.c": "output", "sum_fork_bomb.c": "cpu_time|wall_time",
    "sum_network.py": "runtime_error", "sum_snoop.py": "runtime_error", "lis_ok.cpp": "ok", "lis_slow.py": "cpu_time",
    "lis_hungry.cpp": "memory", "lis_crash.cpp": "signaled", "maze_ok.cpp": "ok", "maze_ok.py": "ok",
    "maze_wrong_greedy.py": "wrong_answer", "maze_recursion.py": "runtime_error",
}  # fmt: skip


def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else 120)
    known, contest = languages(), problems()
    table = Table(title="A small contest, judged in jails")
    for column in ("submission", "verdict", "expected", "tests", "CPU s", "wall s", "peak MiB", "detail"):
        table.add_column(column, justify="right" if column in ("tests", "CPU s", "wall s", "peak MiB") else "left")
    right = cpu = 0.0
    missing = []
    for name, expected in EXPECTED.items():
        path = HERE / "submissions" / name
        if path.suffix not in known:
            missing.append(name)
            continue
        problem = contest[name.partition("_")[0]]
        o = judge(path, known[path.suffix], problem)
        fine = o.verdict in expected.split("|")
        right, cpu = right + fine, cpu + o.cpu
        colour = "green" if fine else "bold red"
        table.add_row(
            name,
            f"[{colour}]{o.verdict}[/]",
            expected,
            f"{o.passed}/{len(problem.tests)}",
            f"{o.cpu:.3f}",
            f"{o.wall:.3f}",
            f"{o.memory / 1048576:.1f}",
            o.detail,
        )
    console.print(table)
    judged = len(EXPECTED) - len(missing)
    console.print(
        f"{int(right)} of {judged} submissions got the verdict they deserve; {cpu:.1f} s of CPU at most per test, summed"
    )
    if missing:
        console.print(f"not judged, their tools are not installed: {', '.join(missing)}")
    return 0 if right == judged else 1


if __name__ == "__main__":
    sys.exit(main())
