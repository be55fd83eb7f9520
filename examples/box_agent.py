"""An agent's turns in one machine: it looks, runs the tests, repairs what fails, runs them again, and is taken back.

The "model" here is a list of commands; a real one would be asked for the next after each answer.
"""

from __future__ import annotations

import pyjail
from pyjail import Box, Limits

SOURCE = "def mean(xs):\n    return sum(xs) / len(xs) + 1\n"
TEST = "from stats import mean\nassert mean([1, 2, 3]) == 2, mean([1, 2, 3])\nprint('passed')\n"
TURNS = [
    "ls; cat stats.py",
    "python3 test.py",
    "sed -i 's/ + 1//' stats.py; git --version > /tmp/notes 2>&1; true",
    "python3 test.py",
]


def main() -> None:
    with Box(limits=Limits(memory="512M", processes=64, cpu_time=20), disk="64M") as box:
        box.write("stats.py", SOURCE)
        box.write("test.py", TEST)
        before = box.snapshot()
        for command in TURNS:
            r = box.run(["sh", "-c", command], text=True, stderr=pyjail.STDOUT)
            if r.verdict is pyjail.Verdict.JAIL_ERROR:  # ours to repair: not an answer for the agent
                raise SystemExit(r.error)
            print(f"$ {command}\n{r.stdout.strip().splitlines()[-1:]} -> {r.verdict}, exit code {r.exit_code}")
        print("repaired:", b"+ 1" not in box.read("stats.py"))
        box.restore(before)
        print("taken back:", box.read("stats.py").decode() == SOURCE, box.list("**", "/tmp"))


if __name__ == "__main__":
    main()
