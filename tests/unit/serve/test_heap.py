"""What is free of the heap is used again, unless the environment says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

from pyjail.serve import heap

MANY = """
import resource, sys
from pyjail.serve import heap
if sys.argv[1] == "keep":
    heap.keep()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def texts():
    [b"x" * (1 << 20) for _ in range(8)]  # 8 MiB in all, that are free then
texts()
before = faults()
for _ in range(20):
    texts()
print(faults() - before)
"""


def faults(how: str, **more: str) -> int:
    """Page faults of twenty times the same."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", MANY, how], env=env | more, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_what_is_free_is_used_again():
    assert faults("keep") < 2000 < faults("leave")  # of 40,960 pages
    assert faults("keep", MALLOC_TRIM_THRESHOLD_=str(1 << 20)) > 2000


def test_what_stays_is_little():
    assert heap.KEPT <= 16 << 20 and heap.MAPPED < heap.KEPT
