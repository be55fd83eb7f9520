"""Judge a file against tests that lie beside each other: 1.in and 1.out, 2.in and 2.out, ...

python examples/judge.py SOURCE TESTS_DIRECTORY
python examples/judge.py            # a program and tests of its own, in several languages
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyjail
from pyjail import Limits, Test, languages

LIMITS = Limits(cpu_time=2, wall_time=10, memory="128M", output="1M")
SQUARES = {
    "python": "print(int(input()) ** 2)",
    "c": '#include <stdio.h>\nint main() { long n; scanf("%ld", &n); printf("%ld\\n", n * n); }',
    "cpp": "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << n * n << '\\n'; }",
    "bash": "read n; echo $((n + n))",  # wrong, but for 2
    "perl": "while (1) { push @kept, 'x' x 1048576 }",
}


def show(name: str, judged: pyjail.Judgement) -> None:
    print(f"{name:<12} {judged.verdict:<14} {judged.score:.0%}")
    if judged.compile is not None and not judged.compile.ok:
        print(judged.compile.stderr.decode("utf-8", "replace"))
    for row in judged.results:
        usage = row.result.usage if row.result else pyjail.Usage()
        print(
            f"  test {row.name:<6} {row.verdict:<14} {usage.cpu_time or 0:.3f} s {(usage.memory_peak or 0) >> 10} KiB"
        )


def main() -> int:
    if len(sys.argv) == 3:
        inputs = sorted(Path(sys.argv[2]).glob("*.in"))
        tests = [Test(p.read_bytes(), p.with_suffix(".out").read_bytes(), p.stem) for p in inputs]
        judged = pyjail.judge_source(sys.argv[1], Path(sys.argv[1]), tests, LIMITS)
        show(sys.argv[1], judged)
        return 0 if judged.passed else 1
    for name, source in SQUARES.items():
        if languages.available(languages.find(name)):
            show(name, pyjail.judge_source(name, source, [("2", "4"), ("12", "144")], LIMITS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
