"""A classic interactive problem: the solution guesses a number, the interactor answers "<", ">" or "=".

    .venv/bin/python examples/interactor.py

Both run in jails of their own. The interactor alone knows the secret, and judges by its exit code; `pyjail.interact` tells
who failed first, so a solution that breaks the rules cannot make the interactor look guilty.
"""

from __future__ import annotations

import sys

import pyjail
from pyjail import Interaction, Limits, Party

SECRET, HIGHEST, MOST_GUESSES = 421, 1000, 10

INTERACTOR = f"""
import sys
print({HIGHEST}, flush=True)
for guess in range({MOST_GUESSES}):
    try:
        n = int(sys.stdin.readline())
    except ValueError:
        sys.exit("no number: wrong answer")
    print("=" if n == {SECRET} else "<" if {SECRET} < n else ">", flush=True)
    if n == {SECRET}:
        sys.exit(0)
sys.exit("too many guesses: wrong answer")
"""

BISECTION = """
low, high = 1, int(input())
while True:
    middle = (low + high) // 2
    print(middle, flush=True)
    answer = input()
    if answer == "=": break
    low, high = (low, middle - 1) if answer == "<" else (middle + 1, high)
"""
ONE_BY_ONE = "input()\nn = 1\nwhile True:\n    print(n, flush=True)\n    if input() == '=': break\n    n += 1\n"
GIVES_UP = "input()\n"
TALKS_NONSENSE = "print('hello', flush=True)\ninput(); input()\n"
FORGETS_TO_FLUSH = "import sys\ninput()\nprint(500)\nsys.stdin.readline()\n"  # its guess stays in its own buffer


def play(solution: str) -> Interaction:
    """Let a solution play against the interactor."""
    limits = Limits(cpu_time=2, wall_time=10, memory="128M")
    return pyjail.interact(
        Party(["python3", "main.py"], limits, name="interactor", files={"main.py": INTERACTOR}),
        Party(["python3", "main.py"], limits, name="solution", files={"main.py": solution}),
        wall_time=20,
    )


def judge(found: Interaction) -> str:
    """One word for the solution, from the evidence."""
    solution, interactor = found.results["solution"], found.results["interactor"]
    if found.verdict in ("deadlock", "wall_time"):
        return found.verdict
    if found.first and found.first.party == "solution" and not solution.ok:
        return str(solution.verdict)
    if not interactor.ok:
        return interactor.stderr.decode().strip().splitlines()[-1]
    return "accepted" if solution.ok else str(solution.verdict)


def main() -> int:
    solutions = {"bisection": BISECTION, "one by one": ONE_BY_ONE, "gives up": GIVES_UP, "nonsense": TALKS_NONSENSE,
                 "no flush": FORGETS_TO_FLUSH}  # fmt: skip
    for name, solution in solutions.items():
        print(f"{name}: {judge(play(solution))}")
    print("\nwhat bisection and the interactor said:")
    found = play(BISECTION)
    said = sorted((at, flow.edge.writer, text) for flow in found.flows for at, text in flow.transcript)
    for at, who, text in said:
        print(f"  {at * 1000:6.1f} ms  {who:>10}: {text.decode().strip()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
