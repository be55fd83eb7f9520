"""Numbers to compare, and runs without chance: `python examples/measure.py`.

Two ways to do the same are measured until they ran undisturbed often enough. Then a program that prints all that it can see
of chance runs twice in deterministic jails, and twice in ordinary ones.
"""

from __future__ import annotations

import pyjail
from pyjail import Jail, Limits, Measurement, Repeat

WAYS = {
    "loop": "total = 0\nfor n in range(3_000_000): total += n",
    "formula": "total = 2_999_999 * 3_000_000 // 2",
}
CHANCE = """
import ctypes, locale, os, socket, time
print(socket.gethostname(), os.getpid(), os.getuid(), locale.setlocale(locale.LC_ALL, ""), time.tzname[0])
print(hash("text"), id(object()), ctypes.addressof(ctypes.c_int.in_dll(ctypes.pythonapi, "Py_OptimizeFlag")))
print([os.fork() or os._exit(0) for _ in range(3)])
"""


def measured(code: str) -> Measurement:
    """Three quiet runs, or nine in all."""
    return pyjail.measure(["python3", "-c", code], Limits(cpu_time=10), repeat=Repeat(times=3, most=9, quiet=True))


def twice(jail: Jail) -> bool:
    """Whether two runs of the program print the same."""
    first, second = (pyjail.run(["python3", "-c", CHANCE], jail=jail, check=True) for _ in range(2))
    return bool(first.stdout == second.stdout)


def main() -> None:
    found = {name: measured(code) for name, code in WAYS.items()}
    for name, m in found.items():
        spread = f"{m.median['cpu_time'] * 1000:7.1f} ms of CPU, spread {m.spread['cpu_time']:.1%}"
        print(f"{name:<8} {spread}, {len(m.runs)} runs, {m.noisy} of them noisy {m.noise or ''}")
    print("less CPU:", min(found, key=lambda name: found[name].median["cpu_time"]))
    print("two runs agree, deterministic:", twice(Jail(deterministic=True)))
    print("two runs agree, as usual:", twice(Jail()))
    for row in pyjail.run(["true"], jail=Jail(deterministic=True)).receipt:
        if row.name.startswith("deterministic"):
            print(f"  {row.name}: {row.status}")


if __name__ == "__main__":
    main()
    pyjail.close()
