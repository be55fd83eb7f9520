"""Several runs in one /box: `python examples/session.py`.

Compile once, then run every test from the same state; a list of commands as a list of answers; a build that is made once.
"""

from __future__ import annotations

import tempfile
from typing import Any

import pyjail
from pyjail import ArtefactCache, Limits, Session

SOURCE = """
#include <stdio.h>
int main(void) {
  long long n, sum = 0, x;
  if (scanf("%lld", &n) != 1) return 1;
  while (n-- > 0 && scanf("%lld", &x) == 1) sum += x;
  FILE *log = fopen("log", "a");
  fprintf(log, "%lld\\n", sum);
  printf("%lld\\n", sum);
  return 0;
}
"""
TESTS = [(b"3\n1 2 3\n", b"6\n"), (b"0\n", b"0\n"), (b"2\n1000000000000 1\n", b"1000000000001\n"), (b"", b"0\n")]


def tests_from_one_state() -> None:
    """Each test starts from the /box that the compiler left."""
    with Session(disk="16M", limits=Limits(cpu_time=1, memory="64M")) as box:
        box.write("sum.c", SOURCE)
        compiled = box.run(["gcc", "-O2", "-o", "sum", "sum.c"], Limits(memory="512M"))
        if not compiled.ok:
            raise SystemExit(compiled.stderr.decode())
        start = box.snapshot()
        for number, (given, expected) in enumerate(TESTS, 1):
            result = box.run(["./sum"], input=given)
            right = result.ok and result.stdout == expected
            print(f"test {number}: {'right' if right else result.verdict}, {sorted(set(box.list()) - {*start.files})}")
            box.restore(start)  # the next one does not see this one's log
        print(
            f"{len(box.results)} runs in all"
        )  # box.cpu_time is their sum, box.memory_peak the highest of their peaks


def answers(sources: dict[str, str], steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sources and [{command, timeout, stdin}] -> [{stdout, stderr, exit_code}]."""
    with Session(limits=Limits(memory="512M")) as box:
        for path, text in sources.items():
            box.write(path, text)
        return box.steps(steps)  # one that fails does not stop the next, unless stop=True


def built_once() -> None:
    """What was compiled before is taken from a cache; the program runs in a /box that it cannot change."""
    with tempfile.TemporaryDirectory() as directory:
        cache = ArtefactCache(directory, limit="1G")
        for _ in range(2):
            with Session(limits=Limits(memory="512M")) as box:
                box.write("sum.c", SOURCE.replace('FILE *log = fopen("log", "a");', "FILE *log = stderr;"))
                build = box.build(["gcc", "-O2", "-o", "sum", "sum.c"], ["sum"], cache=cache)
                told = box.run(["./sum"], input="2 5 7", read_only=True, text=True)
                print("from the cache:" if build.cached else "compiled:", told.stdout.strip())


def main() -> None:
    tests_from_one_state()
    steps = [
        {"command": ["gcc", "-o", "sum", "sum.c"], "timeout": 20},
        {"command": "./nothing"},
        {"command": ["./sum"], "stdin": "2 5 7"},
    ]
    print([(answer["stdout"], answer["exit_code"]) for answer in answers({"sum.c": SOURCE}, steps)])
    built_once()


if __name__ == "__main__":
    main()
    pyjail.close()
