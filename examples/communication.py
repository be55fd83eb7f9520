"""A communication problem as at the IOI: one manager, N copies of a solution that see only a part each.

    .venv/bin/python examples/communication.py

Each copy has a secret list and may answer questions of the manager with one line of at most four digits. Together they must
find the greatest sum. The manager has a pair of named pipes for each copy, below /pipes in its jail; its stdin is the
test, its stdout the score.
"""

from __future__ import annotations

import sys

import pyjail
from pyjail import Edge, Interaction, Limits, Party

N = 3

MANAGER = """
import sys
n = int(sys.argv[1])
out = [open(f"/pipes/to{i}", "w", buffering=1) for i in range(n)]
back = [open(f"/pipes/from{i}") for i in range(n)]
lists = [sys.stdin.readline() for _ in range(n)]
for pipe, numbers in zip(out, lists):
    pipe.write(numbers)
answers = [pipe.readline() for pipe in back]
for i, answer in enumerate(answers):
    if not answer.strip().isdigit() or len(answer) > 5:
        print(f"0 copy {i} broke the rules")
        sys.exit()
right = max(sum(map(int, numbers.split())) for numbers in lists)
print("100 right" if max(map(int, answers)) == right else "0 wrong")
"""

RIGHT = "print(sum(map(int, input().split())))"
WRONG = "print(max(map(int, input().split())))"
TALKS_TOO_MUCH = "print('9' * 100000)"
SILENT = "input()"

TEST = b"1 2 3\n40 5 6\n7 8 9\n"


def play(solution: str) -> Interaction:
    """Run the manager with N copies of a solution."""
    limits = Limits(cpu_time=2, wall_time=10, memory="128M")
    copies = [Party(["python3", "-c", solution], limits, name=f"copy{i}") for i in range(N)]
    manager = Party(["python3", "-c", MANAGER, str(N)], limits, name="manager", input=TEST)
    # A copy that has ended must not end the manager with SIGPIPE: what it is sent then goes nowhere.
    to = [Edge(f"manager.to{i}", f"copy{i}.stdin", sigpipe=False) for i in range(N)]
    back = [Edge(f"copy{i}.stdout", f"manager.from{i}") for i in range(N)]
    return pyjail.interact(manager, *copies, edges=to + back, wall_time=20)


def main() -> int:
    for name, solution in {
        "right": RIGHT, "wrong": WRONG, "talks too much": TALKS_TOO_MUCH, "silent": SILENT,
    }.items():  # fmt: skip
        found = play(solution)
        print(f"{name}: {found.results['manager'].stdout.decode().strip()} ({found.verdict})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
