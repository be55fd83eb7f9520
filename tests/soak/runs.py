"""Mixed runs in several processes: every verdict is right, and nothing is left."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pyjail
import pyjail.aio
from pyjail import Jail, Limits, Party, Verdict
from tests import place
from tests.conftest import SLOW
from tests.host_side import left_over, rss

place.adapt()  # before a jail is made
TINY = Limits(memory="16M", cpu_time=2 * SLOW, wall_time=20 * SLOW, output=10_000)
MOST_GROWTH = 24 << 20  # bytes of the embedder's memory


def _run(args, expected, limits=TINY, **options):
    return lambda: pyjail.run(args, limits, **options).verdict is expected


def _not_found():
    try:
        pyjail.run(["nope"], TINY)
    except FileNotFoundError:
        return True
    return False


def _session():
    with pyjail.Session() as s:
        s.write("a", b"1")
        s.run(["sh", "-c", "cat a a > b"], TINY)
        return s.read("b") == b"11"


def _live():
    with pyjail.start(["cat"], TINY) as p:
        p.stdin.write(b"x\n")
        p.stdin.flush()
        return p.stdout.readline() == b"x\n"


def _dropped():
    pyjail.start(["sleep", "100"], TINY)  # nobody waits for it
    return True


def _impatient():
    try:
        pyjail.run(["sleep", "100"], TINY, timeout=0.01)
    except pyjail.TimeoutExpired:
        return True
    return False


def _loop():
    async def both():
        return await asyncio.gather(*(pyjail.aio.run(["echo", str(n)], TINY) for n in range(2)))

    return [r.stdout for r in asyncio.run(both())] == [b"0\n", b"1\n"]


def _interact():
    writer = Party(["sh", "-c", "echo x > /pipes/to"], TINY, name="a")
    found = pyjail.interact(writer, Party(["cat"], TINY, name="b"), edges=["a.to -> b.stdin"])
    return found.results["b"].stdout == b"x\n"


COMMON = [
    _run(["true"], Verdict.OK),
    _run(["false"], Verdict.RUNTIME_ERROR),
    _run(["sh", "-c", "kill -9 $$"], Verdict.SIGNALED),
    _run(["sh", "-c", "sleep 100 & sleep 100 & exit 0"], Verdict.OK),
    _run(["cat"], Verdict.OK, input=b"x" * 5000),
    _run(["sh", "-c", "cat a > b"], Verdict.OK, files={"a": b"1"}, collect=["b"]),
    _run(["head", "-c", "20000", "/dev/zero"], Verdict.OUTPUT),
    _run(["sh", "-c", "head -c 30000000 /dev/zero > /tmp/x"], Verdict.MEMORY if place.CGROUPS else Verdict.OK),
    _run(["sleep", "9"], Verdict.WALL_TIME, Limits(wall_time=0.01 * SLOW)),
    _run(["true"], Verdict.OK, jail=Jail(network="loopback")),
    _run(["true"], Verdict.OK, Limits(memory="20M", processes=9)),
    _not_found,
]
RARE = [_run(["true"], Verdict.OK, jail=Jail(fresh=True)), _session, _live, _dropped, _impatient, _loop, _interact]


def one(i: int) -> str:
    """What was wrong with the i-th run; "" when nothing."""
    kind = RARE[i // 19 % len(RARE)] if i % 19 == 0 else COMMON[i % len(COMMON)]
    try:
        return "" if kind() else f"{i}: not as expected"
    except Exception as e:
        return f"{i}: {type(e).__name__}: {e}"


def many(total: int) -> dict[str, object]:
    """So many of them in this process, four threads at a time; what is left at the end, beside what was there before."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(one, range(250)))
        pyjail.close()
        before, memory, began = left_over(), rss(), time.monotonic()
        wrong = []
        for first in range(
            0, total, 250
        ):  # `map` has a Future for each at once, which would be the growth that is seen
            wrong += [text for text in threads.map(one, range(first, min(first + 250, total))) if text]
        took = time.monotonic() - began
    pyjail.close()
    time.sleep(0.5)
    after = left_over()
    return {"runs": total, "seconds": took, "wrong": wrong, "left": [a - b for a, b in zip(after, before, strict=True)],
            "growth": rss() - memory}  # fmt: skip


def in_processes(total: int, processes: int = 2) -> list[dict[str, object]]:
    """`many` in each of so many processes, at the same time."""
    command = [sys.executable, "-m", "tests.soak.runs", str(total // processes)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return [json.loads(p.communicate()[0]) for p in started]


if __name__ == "__main__":
    print(json.dumps(many(int(sys.argv[1]))))
