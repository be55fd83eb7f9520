"""Three classic problems: seeded test generators and reference answers."""

from __future__ import annotations

import bisect
import random
from collections import deque
from dataclasses import dataclass

Test = tuple[str, str]  # input, expected output


@dataclass(frozen=True)
class Problem:
    """A name and its tests."""

    name: str
    tests: tuple[Test, ...]


def _sum(rng: random.Random) -> Test:
    numbers = [rng.randint(-(10**9), 10**9) for _ in range(rng.choice([1, 10, 1000, 100_000]))]
    return f"{len(numbers)}\n{' '.join(map(str, numbers))}\n", f"{sum(numbers)}\n"


def _lis(rng: random.Random) -> Test:
    numbers = [rng.randint(1, 10**6) for _ in range(rng.choice([5, 200, 60_000]))]
    tails: list[int] = []
    for x in numbers:
        at = bisect.bisect_left(tails, x)
        tails[at : at + 1] = [x]
    return f"{len(numbers)}\n{' '.join(map(str, numbers))}\n", f"{len(tails)}\n"


def _maze(rng: random.Random) -> Test:
    size = rng.choice([4, 30, 300])
    grid = [["#" if rng.random() < 0.28 else "." for _ in range(size)] for _ in range(size)]
    grid[0][0] = grid[-1][-1] = "."
    seen, queue = {(0, 0): 0}, deque([(0, 0)])
    while queue:
        y, x = queue.popleft()
        for v, u in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            if 0 <= v < size and 0 <= u < size and grid[v][u] == "." and (v, u) not in seen:
                seen[v, u] = seen[y, x] + 1
                queue.append((v, u))
    rows = "\n".join("".join(row) for row in grid)
    return f"{size}\n{rows}\n", f"{seen.get((size - 1, size - 1), -1)}\n"


def problems(seed: int = 1) -> dict[str, Problem]:
    """The contest; the same seed makes the same tests."""
    rng = random.Random(seed)
    makers = {"sum": _sum, "lis": _lis, "maze": _maze}
    return {name: Problem(name, tuple(make(rng) for _ in range(5))) for name, make in makers.items()}
