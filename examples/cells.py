"""Cells in a jail: `python examples/cells.py`. State, rich results, a loop that is interrupted, an end that is told."""

from __future__ import annotations

import pyjail
from pyjail import Execution, Interpreter

CELLS = [
    "squares = [n * n for n in range(5)]",
    "print('sum of', squares)\nsum(squares)",
    "class Bar:\n"
    "    def __init__(self, n): self.n = n\n"
    "    def __repr__(self): return '#' * self.n\n"
    '    def _repr_svg_(self): return f\'<svg width="{self.n}" height="1"/>\'\n'
    "for n in squares[1:3]: display(Bar(n))\n"
    "Bar(9)",
    "import subprocess; subprocess.run(['echo', 'from a child']).returncode",
    "squares['x']",
    "while True: pass",
    "squares",
    "import os; os._exit(1)",
    "squares",
]


def shown(r: Execution) -> str:
    """A cell's outcome, a line."""
    parts = [f"[{r.execution_count}] {r.verdict}"]
    if r.restarted:
        parts.append(f"(a new interpreter: {r.lost})")
    parts += ["".join(r.logs.stdout).strip()]
    parts += [f"{'/'.join(one.formats())} {one.text}" for one in r.results]
    if r.error is not None:
        parts.append(f"{r.error.name}: {r.error.value}")
    return " ".join(filter(None, parts))


def main() -> None:
    """Run them all, then those again that succeeded."""
    limits = pyjail.Limits(cpu_time=None, wall_time=None, memory="256M")
    with Interpreter(limits=limits, timeout=2) as python:
        for code in CELLS:
            print(shown(python.run(code)))
        print("again:", len(python.replay()), python.run("squares").text)


if __name__ == "__main__":
    main()
