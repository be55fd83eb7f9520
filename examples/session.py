"""Compile once, then run every test from the same state: `python examples/session.py`."""

from __future__ import annotations

import pyjail
from pyjail import Limits, Session

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
TESTS = [(b"3\n1 2 3\n", b"6\n"), (b"0\n", b"0\n"), (b"2\n1000000000000 1\n", b"1000000000001\n"), (b"", b"")]


def main() -> None:
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
        steps = box.steps(
            [{"command": "echo 5 7 > in"}, {"command": ["./sum"], "stdin": "2 5 7"}, {"command": "false"}]
        )
        print([(step["stdout"], step["exit_code"]) for step in steps])
        print(f"{len(box.results)} runs in all")


if __name__ == "__main__":
    main()
    pyjail.close()
