"""Each system call of a run, a session, a process, a pool fails once for want of fds, memory or room: an error that says
so, nothing left, and the next run is fine."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail
from pyjail import (
    ArtefactCache,
    Jail,
    JailError,
    Limits,
    Party,
    Pool,
    Session,
    aio,
)
from tests import place
from tests.conftest import SLOW
from tests.faulty import fault
from tests.host_side import cgroups_of, fds, keepers_of, mounts
from tests.inside import look_again
from tests.scripts import until

LIMITS = Limits(cpu_time=20 * SLOW, wall_time=60 * SLOW)


def plain():
    return pyjail.run(["echo", "x"], LIMITS).stdout == b"x\n"


def fresh():
    return pyjail.run(["echo", "x"], LIMITS, jail=Jail(fresh=True)).stdout == b"x\n"


def files():
    given = {"a": b"one", "d/b": __file__ and b"two"}
    r = pyjail.run(["sh", "-c", "cat a d/b -; echo > c"], LIMITS, input=b"in", files=given, collect=["**"])
    if r.uncollected:  # so it is told there
        return " ".join(r.uncollected.values())
    return (r.stdout, set(r.files)) == (b"onetwoin", {"a", "d/b", "c"})


def session():
    with Session(limits=LIMITS) as s:
        s.write("d/a", "x")
        r = s.run(["sh", "-c", "cat d/a; echo y > b"])
        snap = s.snapshot()
        s.remove("d", recursive=True)
        s.restore(snap)
        return (r.stdout, s.read("b"), s.list()) == (b"x", b"y\n", ["b", "d", "d/a"])


def build(directory):
    cache = ArtefactCache(directory)
    for _ in range(2):
        with Session(limits=LIMITS) as s:
            made = s.build(["sh", "-c", "echo x > out"], ("out",), cache=cache)
            if not made.result.ok or s.read("out") != b"x\n":
                return False
    return True


def process():
    with pyjail.start(["cat"], LIMITS) as p:
        return p.communicate(b"x" * 100_000)[0] == b"x" * 100_000


def terminal():
    with pyjail.start(["sh", "-c", "tty; exit 3"], LIMITS, pty=True) as p:
        return p.wait() == 3


def pool():
    with Pool(2) as p:
        return [p.run(["echo", str(i)], LIMITS).stdout for i in range(3)] == [b"0\n", b"1\n", b"2\n"]


def loop():
    async def main():
        one = await aio.run(["echo", "x"], LIMITS)
        async with await aio.start(["cat"], LIMITS) as p:
            out, _ = await p.communicate(b"y")
        return (one.stdout, out) == (b"x\n", b"y")

    return asyncio.run(main())


def loop_session():
    async def main():
        async with aio.Session(limits=LIMITS) as s:
            await s.write("a", "x")
            r = await s.run(["cat", "a"])
            return (r.stdout, await s.read("a"), await s.list()) == (b"x", b"x", ["a"])

    return asyncio.run(main())


def loop_pool():
    async def main():
        async with aio.Pool(2) as p:
            found = await asyncio.gather(*(p.run(["echo", str(i)], LIMITS) for i in range(3)))
        return [r.stdout for r in found] == [b"0\n", b"1\n", b"2\n"]

    return asyncio.run(main())


def talk():
    ask, answer = ["sh", "-c", "echo 20; read x; test $x = 21"], ["sh", "-c", "read n; echo $((n + 1))"]
    return pyjail.interact(Party(ask, LIMITS), Party(answer, LIMITS)).ok


WAYS = [plain, fresh, files, session, build, process, terminal, pool, loop, loop_session, loop_pool, talk]


def left() -> tuple[int, ...]:
    """fds, mounts, processes, cgroup directories: when nothing of ours is to be there."""
    pyjail.close()
    gc.collect()
    return fds(), mounts(), len(keepers_of(os.getpid())), len(cgroups_of(os.getpid()))


def told(e: object, number: int) -> bool:
    """The error is an error of ours or the call's own, and says what was short."""
    words = e if isinstance(e, str) else " ".join([str(e), *map(str, getattr(e, "__notes__", ())), str(e.__cause__)])
    if number == errno.EAGAIN and isinstance(e, RuntimeError):
        return "start new thread" in words  # as CPython has it
    if getattr(e, "errno", None) == number or os.strerror(number) in words:
        return isinstance(e, (OSError, JailError, str))
    return isinstance(e, ExceptionGroup) and all(told(inner, number) for inner in e.exceptions)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_call_that_fails_once_is_told_and_leaves_nothing(way, cold, tmp_path, request):
    if cold and way is not plain and not request.config.getoption("--soak"):
        pytest.skip(place.ELSEWHERE)  # the start is the same for all
    arguments = (tmp_path / "cache",) if way is build else ()
    for _ in range(2):  # what is loaded when it is first used stays
        assert way(*arguments)
    before = left()
    assert before[3] == 0  # processes of other tests may be below us, such as multiprocessing's
    soak = request.config.getoption("--soak")
    wrong: list[str] = []
    step = 1 if soak else 3 if request.config.getoption("--all") else 8
    for at in itertools.count(1 + len(way.__name__) % step, step):
        hits = [_once(way, arguments, cold, at, turn, before, wrong) for turn in (range(5) if soak else (at,))]
        if None in hits:
            break
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:40])


def _once(way, arguments, cold, at, turn, before, wrong, fails=fault):
    if cold:
        look_again()
    else:
        pyjail.run(["true"], LIMITS)
    came = None
    with fails(at, turn) as made:
        try:
            came = way(*arguments) or "another result"
        except BaseException as e:
            came = e
    if made.hit is None:
        assert came is True
        return None
    where = f"{made.hit[0]}: {os.strerror(made.hit[1])}"
    if came is not True and not told(came, made.hit[1]):
        wrong.append(f"{where} -> {came!r}")
    try:
        if pyjail.run(["echo", "next"], LIMITS).stdout != b"next\n":
            wrong.append(f"{where}: the next run fails")
    except Exception as e:
        wrong.append(f"{where}: the next run raises {e!r}")
    del came
    if not until(lambda: all(now <= then for now, then in zip(left(), before, strict=True)), 3):
        wrong.append(f"{where}: leaves {left()} where {before} was")
    return made.hit


def test_a_storm_of_signals_is_not_noticed(tmp_path):
    """EINTR, as the kernel gives it."""
    seen = []
    old = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        for way in WAYS:
            assert way(*((tmp_path / "cache",) if way is build else ())), way
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert len(seen) > 10


class _Interrupted:
    """`tests/interrupted.c`, of the process that it is preloaded in."""

    def __init__(self, at, turn):
        self.at, self.hit = at, None
        names = ("eintr_at", "eintr_count")
        self.state = [ctypes.c_uint.in_dll(ctypes.CDLL(None), name) for name in names]

    def __enter__(self):
        self.state[1].value, self.state[0].value = 0, self.at
        return self

    def __exit__(self, *_):
        self.state[0].value = 0
        if self.state[1].value >= self.at:
            name = ctypes.c_char_p.in_dll(ctypes.CDLL(None), "eintr_name").value
            self.hit = name.decode(), errno.EINTR


def each_interrupted(name, directory, step):
    """What went wrong when one call after the other of this way was interrupted, and how many there were."""
    way = next(way for way in WAYS if way.__name__ == name)
    arguments = (os.path.join(directory, "cache"),) if way is build else ()
    for _ in range(2):
        assert way(*arguments)
    before, wrong, at = left(), [], 1
    while _once(way, arguments, False, at, 0, before, wrong, _Interrupted) is not None:
        at += step
    return wrong, at // step


@pytest.mark.timeout(1200)
def test_a_call_that_a_signal_interrupts_once_is_made_again_or_told(tmp_path, request):
    library = tmp_path / "interrupted.so"
    source = Path(__file__).parents[2] / "interrupted.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-fno-builtin", "-w", "-o", library, source, "-ldl"], check=True)
    code = "import sys; from tests.jail.run.test_shortage import each_interrupted as each; print(*each(*sys.argv[1:3], int(sys.argv[3])))"
    for way in WAYS:
        step = "1" if request.config.getoption("--soak") else "5" if request.config.getoption("--all") else "15"
        done = subprocess.run(
            [sys.executable, "-c", code, way.__name__, tmp_path, step],
            env=os.environ | {"LD_PRELOAD": str(library)},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.startswith("[] "), (way.__name__, done.stdout, done.stderr)
        assert int(done.stdout.split()[1]) >= 1
